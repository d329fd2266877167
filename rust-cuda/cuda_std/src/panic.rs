//! The panic handler of every kernel crate: a trap, which the driver reports as a failed launch.
use core::panic::PanicInfo;

#[panic_handler]
fn trap(_: &PanicInfo<'_>) -> ! {
    crate::instruction::trap()
}
