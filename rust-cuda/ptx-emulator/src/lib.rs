//! ptx-emulator.
