//! Query parameters, read by name; what is left at the end is unknown.

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;
use time::Duration;

use crate::error::{Code, Error, Invalid, Result};
use crate::json::no_nul;

pub struct Params {
    pairs: Vec<(String, String)>,
    invalids: Vec<Invalid>,
}

impl Params {
    pub fn of(request: &HttpRequest) -> Result<Self> {
        Self::parse(request.query_string())
    }

    /// Reads what stands behind the question mark.
    pub fn parse(query: &str) -> Result<Self> {
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, Invalid>>()?;
        Ok(Self { pairs, invalids: Vec::new() })
    }

    /// A parameter that may be given once.
    pub fn one<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, Invalid>) -> Option<T> {
        let mut values = self.values(name);
        let value = values.pop()?;
        let parsed =
            if values.is_empty() { parse(&value) } else { Err(Invalid::new(Code::DuplicateItem, "is given twice")) };
        self.keep(name, parsed)
    }

    /// A parameter that may be repeated: `tags_any=a&tags_any=b`.
    pub fn many<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Invalid>) -> Vec<T> {
        let values = self.values(name);
        let parsed = values.iter().map(|value| parse(value)).collect();
        self.keep(name, parsed).unwrap_or_default()
    }

    fn values(&mut self, name: &str) -> Vec<String> {
        self.pairs.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    fn keep<T>(&mut self, name: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|invalid| self.invalids.push(invalid.under(name))).ok()
    }

    pub fn finish(mut self) -> Result<()> {
        for (name, _) in &self.pairs {
            self.invalids.push(Invalid::new(Code::UnknownField, "is not a parameter of this route").under(name));
        }
        if self.invalids.is_empty() { Ok(()) } else { Err(Error::Invalid(self.invalids)) }
    }
}

/// As in `90m`, `24h` or `7d`; what no number has room for is very long.
pub fn length_of_time(raw: &str) -> Result<Duration, Invalid> {
    let form = || Invalid::new(Code::InvalidValue, "must be minutes, hours or days, as 90m, 24h or 7d");
    let (count, unit) = raw.split_at_checked(raw.len().saturating_sub(1)).ok_or_else(form)?;
    let unit = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(form()),
    };
    if count.is_empty() || !count.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(form());
    }
    let seconds = count.parse::<i64>().ok().and_then(|count| count.checked_mul(unit));
    Ok(seconds.map_or(Duration::MAX, Duration::seconds))
}

fn decode(raw: &str) -> Result<String, Invalid> {
    let spaced = raw.replace('+', " ");
    let text = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| Invalid::new(Code::InvalidUnicode, "a query parameter is not valid UTF-8"))?;
    no_nul(&text)?;
    Ok(text.into_owned())
}
