//! The kinds of settings: which values of YAML one may be, and in which words it is asked for.

use serde::Deserializer;
use serde::de::{Deserialize, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a setting is. Every setting has one, so none can be read without its kind having been judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Path,
    /// Where to listen.
    Socket,
    /// What others are told to dial.
    HostPort,
    Urls,
    Names,
    Networks,
    Duration,
    Truth,
    /// A whole number.
    Number,
    LogFilter,
    LogFormat,
}

impl Kind {
    /// What to write, in words that follow "wanted is".
    pub const fn wanted(self) -> &'static str {
        match self {
            Self::Path => "a path",
            Self::Socket => "an address and a port, such as 0.0.0.0:8443",
            Self::HostPort => "HOST:PORT without a scheme, such as muster.example.org:9443",
            Self::Urls => "https addresses without a path, such as https://muster.example.org:8443",
            Self::Names => "DNS names or IP addresses without a port, such as muster.example.org",
            Self::Networks => "networks, such as 10.0.0.0/8 or 2001:db8::/32",
            Self::Duration => "a duration with its unit, such as 24h or 90m",
            Self::Truth => "true or false",
            Self::Number => "a whole number, such as 50",
            Self::LogFilter => {
                "off, error, warn, info, debug or trace, and the same for a part, such as info,muster::http=debug"
            }
            Self::LogFormat => "text or json",
        }
    }

    pub(super) const fn is_list(self) -> bool {
        matches!(self, Self::Urls | Self::Names | Self::Networks)
    }

    /// The text of a value of this kind, or what is wrong with it.
    pub(super) fn text(self, value: &Value) -> Result<String, &'static str> {
        match value {
            Value::Truth(value) if self == Self::Truth => Ok(value.to_string()),
            Value::Truth(_) => Err("a truth value stands there"),
            Value::Text(text) if text.trim().is_empty() && !self.is_list() => Err("nothing stands there"),
            Value::Text(text) => Ok(text.clone()),
            Value::List(items) if self.is_list() => match items.iter().any(|item| item.trim().is_empty()) {
                true => Err("an entry of the list is empty"),
                false => Ok(items.join(",")),
            },
            Value::List(_) => Err("a list stands there"),
            Value::Number(number) if self == Self::Number => Ok(number.clone()),
            Value::Number(_) if self == Self::Duration => Err("a number without a unit stands there"),
            Value::Number(_) => Err("a number stands there"),
            Value::Mapping => Err("a mapping stands there"),
            Value::Mixed => Err("a list of something other than texts stands there"),
        }
    }
}

/// A value in YAML, as far as settings may be one, or what else it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Truth(bool),
    Text(String),
    List(Vec<String>),
    Number(String),
    Mapping,
    /// A list with something in it that is no text.
    Mixed,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

macro_rules! numbers {
    ($($visit:ident: $number:ty,)*) => {
        $(fn $visit<E: Error>(self, number: $number) -> Result<Value, E> {
            Ok(Value::Number(number.to_string()))
        })*
    };
}

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, a truth value or a list of texts")
    }

    numbers! {
        visit_i64: i64,
        visit_u64: u64,
        visit_i128: i128,
        visit_u128: u128,
        visit_f64: f64,
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Truth(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let (mut items, mut mixed) = (Vec::new(), false);
        while let Some(item) = list.next_element::<Option<Value>>()? {
            match item {
                Some(Value::Text(item)) => items.push(item),
                _ => mixed = true,
            }
        }
        Ok(if mixed { Value::Mixed } else { Value::List(items) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Value, A::Error> {
        while mapping.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Mapping)
    }
}
