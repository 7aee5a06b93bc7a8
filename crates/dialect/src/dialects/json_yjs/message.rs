//! What a json-yjs client sends: one JSON object, read in one pass. `data` becomes bytes while it is read, with its bound checked on the way, and everything
//! that has no meaning here is passed over: no tree is made of a message, which would be forty times its size.
//!
//! Knows no room and counts nothing; what follows from a fault is the session's business.

use super::{STATE_REQUEST, STATE_RESPONSE, TOO_LARGE, UPDATE};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt::{self, Display, Formatter};

/// Numbers in `data`: a document of that size takes 16 MiB of text.
const DATA_BYTES_MAX: usize = 4_194_304;
/// Characters of a type that are repeated to the client.
const TYPE_CHARACTERS_MAX: usize = 64;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// These bytes are an update, perhaps.
    Update(Vec<u8>),
    /// The whole document.
    StateRequest,
    /// An answer.
    Ping,
    /// Nothing: it answers.
    Pong,
}

/// Why a message is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NotJson,
    NotAnObject,
    NoType,
    /// Cut to what may be repeated.
    UnknownType(String),
    /// One that only the server sends.
    UnexpectedType(&'static str),
    NoData,
    NotBytes,
    TooLarge,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("Invalid JSON"),
            Self::NotAnObject => f.write_str("Message must be a JSON object"),
            Self::NoType => f.write_str("Missing message type"),
            Self::UnknownType(kind) => write!(f, "Unknown message type: {kind}"),
            Self::UnexpectedType(kind) => write!(f, "Unexpected message type: {kind}"),
            Self::NoData => f.write_str("Missing data"),
            Self::NotBytes => f.write_str("data must be an array of bytes"),
            Self::TooLarge => f.write_str(TOO_LARGE),
        }
    }
}

/// Reads one message.
pub(super) fn read(payload: &[u8]) -> Result<Message, Fault> {
    let text = std::str::from_utf8(payload).map_err(|_| Fault::NotJson)?;
    let value: Value = serde_json::from_str(text).map_err(|_| Fault::NotJson)?;
    let Value::Object { kind, data } = value else { return Err(Fault::NotAnObject) };
    match kind {
        None => Err(Fault::NoType),
        Some(Type::Update) => match data {
            None => Err(Fault::NoData),
            Some(Data::Bytes(bytes)) => Ok(Message::Update(bytes)),
            Some(Data::NotBytes) => Err(Fault::NotBytes),
            Some(Data::TooLarge) => Err(Fault::TooLarge),
        },
        Some(Type::StateRequest) => Ok(Message::StateRequest),
        Some(Type::Ping) => Ok(Message::Ping),
        Some(Type::Pong) => Ok(Message::Pong),
        Some(Type::Unexpected(kind)) => Err(Fault::UnexpectedType(kind)),
        Some(Type::Unknown(kind)) => Err(Fault::UnknownType(kind)),
    }
}

/// A whole message. Of members that are there twice the last counts.
enum Value {
    /// None: not there, or not a text.
    Object {
        kind: Option<Type>,
        data: Option<Data>,
    },
    Other,
}

/// What `type` says.
enum Type {
    Update,
    StateRequest,
    Ping,
    Pong,
    Unexpected(&'static str),
    Unknown(String),
}

/// What `data` is.
enum Data {
    Bytes(Vec<u8>),
    NotBytes,
    TooLarge,
}

/// Visits all kinds of JSON: by default none of them is what was wanted.
macro_rules! scalars_are {
    ($other:expr) => {
        fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str("JSON")
        }

        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! numbers_are {
    ($other:expr) => {
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! text_is {
    ($other:expr) => {
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! arrays_are {
    ($other:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            while array.next_element::<Passed>()?.is_some() {}
            Ok($other)
        }
    };
}

macro_rules! objects_are {
    ($other:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<Passed, Passed>()?.is_some() {}
            Ok($other)
        }
    };
}

/// Any value that means nothing here. Read with serde_json's bound on nesting, 128.
struct Passed;

struct PassedVisitor;

impl<'de> Visitor<'de> for PassedVisitor {
    type Value = Passed;
    scalars_are!(Passed);
    numbers_are!(Passed);
    text_is!(Passed);
    arrays_are!(Passed);
    objects_are!(Passed);
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PassedVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;
    scalars_are!(Value::Other);
    numbers_are!(Value::Other);
    text_is!(Value::Other);
    arrays_are!(Value::Other);

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let (mut kind, mut data) = (None, None);
        while let Some(member) = object.next_key::<Member>()? {
            match member {
                Member::Type => kind = object.next_value::<MaybeType>()?.0,
                Member::Data => data = Some(object.next_value()?),
                Member::Other => _ = object.next_value::<Passed>()?,
            }
        }
        Ok(Value::Object { kind, data })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// The name of a member.
enum Member {
    Type,
    Data,
    Other,
}

struct MemberVisitor;

impl Visitor<'_> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "type" => Member::Type,
            "data" => Member::Data,
            _ => Member::Other,
        })
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(MemberVisitor)
    }
}

struct MaybeType(Option<Type>);

struct TypeVisitor;

impl<'de> Visitor<'de> for TypeVisitor {
    type Value = MaybeType;
    scalars_are!(MaybeType(None));
    numbers_are!(MaybeType(None));
    arrays_are!(MaybeType(None));
    objects_are!(MaybeType(None));

    fn visit_str<E: Error>(self, text: &str) -> Result<MaybeType, E> {
        Ok(MaybeType(Some(match text {
            UPDATE => Type::Update,
            STATE_REQUEST => Type::StateRequest,
            "ping" => Type::Ping,
            "pong" => Type::Pong,
            STATE_RESPONSE => Type::Unexpected(STATE_RESPONSE),
            "error" => Type::Unexpected("error"),
            other => Type::Unknown(other.chars().take(TYPE_CHARACTERS_MAX).collect()),
        })))
    }
}

impl<'de> Deserialize<'de> for MaybeType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TypeVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;
    scalars_are!(Data::NotBytes);
    numbers_are!(Data::NotBytes);
    text_is!(Data::NotBytes);

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Data, A::Error> {
        let mut data = Data::Bytes(Vec::new());
        while data.is_good() {
            match array.next_element::<MaybeByte>()? {
                Some(MaybeByte(byte)) => data.push(byte),
                None => return Ok(data),
            }
        }
        while array.next_element::<Passed>()?.is_some() {}
        Ok(data)
    }

    /// What becomes of a raw byte array when it is made JSON of: its places are the names.
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Data, A::Error> {
        let (mut data, mut place) = (Data::Bytes(Vec::new()), 0);
        while data.is_good() {
            match object.next_key_seed(Place(place))? {
                Some(true) => data.push(object.next_value::<MaybeByte>()?.0),
                Some(false) => {
                    object.next_value::<Passed>()?;
                    data = Data::NotBytes;
                }
                None => return Ok(data),
            }
            place += 1;
        }
        while object.next_entry::<Passed, Passed>()?.is_some() {}
        Ok(data)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

impl Data {
    fn is_good(&self) -> bool {
        matches!(self, Self::Bytes(_))
    }

    fn push(&mut self, byte: Option<u8>) {
        match (&mut *self, byte) {
            (Self::Bytes(bytes), Some(_)) if bytes.len() == DATA_BYTES_MAX => *self = Self::TooLarge,
            (Self::Bytes(bytes), Some(byte)) => bytes.push(byte),
            (_, None) => *self = Self::NotBytes,
            (Self::NotBytes | Self::TooLarge, Some(_)) => {}
        }
    }
}

/// A whole number from 0 to 255, however it is written.
struct MaybeByte(Option<u8>);

struct ByteVisitor;

impl<'de> Visitor<'de> for ByteVisitor {
    type Value = MaybeByte;
    scalars_are!(MaybeByte(None));
    text_is!(MaybeByte(None));
    arrays_are!(MaybeByte(None));
    objects_are!(MaybeByte(None));

    fn visit_u64<E: Error>(self, value: u64) -> Result<MaybeByte, E> {
        Ok(MaybeByte(value.try_into().ok()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<MaybeByte, E> {
        Ok(MaybeByte(value.try_into().ok()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<MaybeByte, E> {
        let is_byte = value.fract() == 0.0 && (0.0..=255.0).contains(&value);
        Ok(MaybeByte(is_byte.then_some(value as u8)))
    }
}

impl<'de> Deserialize<'de> for MaybeByte {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteVisitor)
    }
}

/// Whether a name is this number, as JSON makers write it.
struct Place(usize);

impl<'de> DeserializeSeed<'de> for Place {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place {
    type Value = bool;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        let is_plain = name == "0" || !name.starts_with(['0', '+']);
        Ok(is_plain && name.parse() == Ok(self.0))
    }
}
