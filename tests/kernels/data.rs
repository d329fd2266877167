//! A row's buffers, as data: every target lays out the same ones.
use gpu_kernels::{Element, Format, Kv, KvFormat, Packed, Ptr, Role, Weight};
use half::bf16;
use nemotron_backend::device::{self, BufferKind, Buffers, WeightPart};

/// What a buffer holds before the launch.
#[derive(Clone)]
pub enum Values {
    /// Numbers, narrowed to the element; of elements of a byte, the byte's.
    Reals(Vec<f32>),
    /// Integers.
    Integers(Vec<i32>),
    /// Rows of a weight's codes.
    Codes(Format, Vec<u8>),
    /// Nothing: reading an element before it is written is a fault.
    Undefined(usize),
}

/// One named buffer.
#[derive(Clone)]
pub struct Buffer {
    pub name: &'static str,
    pub element: Element,
    pub values: Values,
    /// Width of a weight's rows.
    pub columns: usize,
}

impl Buffer {
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Reals(reals) => reals.len(),
            Values::Integers(integers) => integers.len(),
            Values::Codes(_, codes) => codes.len(),
            Values::Undefined(count) => *count,
        }
    }

    /// Element `index` before the launch; none if undefined.
    pub fn initial(&self, index: usize) -> Option<f64> {
        match &self.values {
            Values::Reals(reals) => Some(f64::from(reals[index])),
            Values::Integers(integers) => Some(f64::from(integers[index])),
            Values::Codes(_, codes) => Some(f64::from(codes[index])),
            Values::Undefined(_) => None,
        }
    }
}

/// The buffers of a row; a plan's pointer names one by its place.
#[derive(Clone, Default)]
pub struct Data(pub Vec<Buffer>);

impl Data {
    fn add<R: Role>(&mut self, name: &'static str, values: Values, columns: usize) -> Ptr<R> {
        self.0.push(Buffer { name, element: R::ELEMENT, values, columns });
        Ptr::new(self.0.len() as u32 - 1, 0)
    }

    pub fn reals<R: Role>(&mut self, name: &'static str, values: Vec<f32>) -> Ptr<R> {
        self.add(name, Values::Reals(values), 0)
    }

    pub fn weight(&mut self, name: &'static str, values: Vec<f32>, columns: usize) -> Ptr<Weight> {
        self.add(name, Values::Reals(values), columns)
    }

    /// Bytes, as numbers.
    pub fn bytes<R: Role>(&mut self, name: &'static str, bytes: &[u8]) -> Ptr<R> {
        self.reals(name, bytes.iter().copied().map(f32::from).collect())
    }

    /// Rows of `columns` columns in a packed format.
    pub fn codes(&mut self, name: &'static str, format: Format, codes: Vec<u8>, columns: usize) -> Ptr<Packed> {
        self.add(name, Values::Codes(format, codes), columns)
    }

    pub fn integers(&mut self, name: &'static str, values: Vec<i32>) -> Ptr<i32> {
        self.add(name, Values::Integers(values), 0)
    }

    /// Other integers in place of those that are there.
    pub fn set_integers(&mut self, target: Ptr<i32>, values: Vec<i32>) {
        self.0[target.target().expect("pointer is not null").0 as usize].values = Values::Integers(values);
    }

    /// A pool of keys or values with these elements.
    pub fn pool(&mut self, name: &'static str, format: KvFormat, elements: Values) -> Ptr<Kv> {
        self.0.push(Buffer { name, element: format.element(), values: elements, columns: 0 });
        Ptr::new(self.0.len() as u32 - 1, 0)
    }

    pub fn undefined<R: Role>(&mut self, name: &'static str, count: usize) -> Ptr<R> {
        self.add(name, Values::Undefined(count), 0)
    }

    fn values<R: Role>(&self, source: Ptr<R>) -> &Values {
        &self.0[source.target().expect("pointer is not null").0 as usize].values
    }

    /// The numbers behind a pointer, for the oracle.
    pub fn f64s<R: Role>(&self, source: Ptr<R>) -> Vec<f64> {
        let Values::Reals(reals) = self.values(source) else { panic!("not a buffer of numbers") };
        reals.iter().map(|real| f64::from(*real)).collect()
    }

    /// The codes behind a pointer, for the oracle.
    pub fn packed(&self, source: Ptr<Packed>) -> &[u8] {
        let Values::Codes(_, codes) = self.values(source) else { panic!("not a buffer of codes") };
        codes
    }

    /// The integers behind a pointer, for the oracle.
    pub fn i32s(&self, source: Ptr<i32>) -> &[i32] {
        let Values::Integers(integers) = self.values(source) else { panic!("not a buffer of integers") };
        integers
    }

    /// The buffers as a device takes them. Contents other than weights and constants are still to be written.
    pub fn buffers(&self) -> Buffers {
        let mut buffers = Buffers::default();
        for buffer in &self.0 {
            match (&buffer.values, buffer.element) {
                (Values::Reals(reals), Element::Weight) => {
                    let bytes: Vec<u8> = reals.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
                    let (rows, columns) = (reals.len() / buffer.columns, buffer.columns);
                    let part = WeightPart::new(bytes.into(), columns, 0..rows, 0..columns);
                    buffers.add_weight(buffer.name, device::Weight::new(vec![part]));
                }
                (Values::Codes(format, codes), element) => {
                    let (columns, row_bytes) = (buffer.columns, format.row_bytes(buffer.columns as u64) as usize);
                    let words: Vec<u32> =
                        codes.chunks(4).map(|four| u32::from_le_bytes(four.try_into().expect("whole words"))).collect();
                    let data = bytes::Bytes::from_owner(Words(words));
                    let part = WeightPart::in_place(*format, data, columns, 0..codes.len() / row_bytes, 0..columns);
                    let weight = BufferKind::Weight(device::Weight::new(vec![part]));
                    buffers.add(buffer.name, element, codes.len() as u64, weight);
                }
                (Values::Reals(reals), element) if !matches!(element, Element::Kv8 | Element::Packed) => {
                    buffers.add(buffer.name, element, reals.len() as u64, BufferKind::Constant(reals.clone()));
                }
                (_, element) => {
                    buffers.add(buffer.name, element, buffer.len() as u64, BufferKind::Scratch);
                }
            }
        }
        buffers
    }
}

/// Lets words be the bytes that they are: f32 stays aligned.
struct Words(Vec<u32>);

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}
