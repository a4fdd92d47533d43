//! FHIR's [date, dateTime and instant], and the [Period] made of them.
//!
//! A value stands for the whole day, month, year or second that it names: a period that ends `2012-02-03` includes that
//! day. A date without a time has no time zone; UTC is taken, and the import says so.
//!
//! [date, dateTime and instant]: http://hl7.org/fhir/R4/datatypes.html#dateTime
//! [Period]: http://hl7.org/fhir/R4/datatypes.html#Period

use assent_core::terms::Period;

use crate::{ImportError, json::Node};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What a date or dateTime stands for: `start..end` in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub start_ms: i64,
    pub end_ms: i64,
    /// Whether it says its time zone.
    pub zoned: bool,
}

/// Days since 1970 of a day of the Gregorian calendar.
/// Source: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn next_month(year: i64, month: i64) -> (i64, i64) {
    if month == 12 { (year + 1, 1) } else { (year, month + 1) }
}

/// `width` digits from the front, and the rest.
fn digits(text: &str, width: usize) -> Option<(i64, &str)> {
    let head = text.get(..width)?;
    if !head.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((head.parse().ok()?, &text[width..]))
}

fn number(text: &str, width: usize, range: std::ops::RangeInclusive<i64>) -> Option<(i64, &str)> {
    digits(text, width).filter(|(value, _)| range.contains(value))
}

impl Moment {
    /// Reads a date or dateTime; `None` if it is neither. A leap second is refused: Unix time has no place for it.
    pub fn parse(text: &str) -> Option<Self> {
        let days =
            |start: i64, end: i64| Self { start_ms: start * DAY_MS, end_ms: end * DAY_MS, zoned: false };
        let (year, rest) = number(text, 4, 1..=9999)?;
        if rest.is_empty() {
            return Some(days(days_from_civil(year, 1, 1), days_from_civil(year + 1, 1, 1)));
        }
        let (month, rest) = number(rest.strip_prefix('-')?, 2, 1..=12)?;
        let first = days_from_civil(year, month, 1);
        let (next_year, next) = next_month(year, month);
        let next_first = days_from_civil(next_year, next, 1);
        if rest.is_empty() {
            return Some(days(first, next_first));
        }
        let (day, rest) = number(rest.strip_prefix('-')?, 2, 1..=next_first - first)?;
        let today = first + day - 1;
        if rest.is_empty() {
            return Some(days(today, today + 1));
        }
        let (hour, rest) = number(rest.strip_prefix('T')?, 2, 0..=23)?;
        let (minute, rest) = number(rest.strip_prefix(':')?, 2, 0..=59)?;
        let (second, rest) = number(rest.strip_prefix(':')?, 2, 0..=59)?;
        let (fraction_ms, unit_ms, rest) = fraction(rest)?;
        let offset_minutes = zone(rest)?;
        let start_ms =
            today * DAY_MS + ((hour * 60 + minute - offset_minutes) * 60 + second) * 1000 + fraction_ms;
        Some(Self { start_ms, end_ms: start_ms + unit_ms, zoned: true })
    }
}

/// A fraction of a second: whole milliseconds, how many milliseconds its last digit stands for, and the rest.
fn fraction(text: &str) -> Option<(i64, i64, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, 1000, text)) };
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (mut value, mut unit) = (0, 1000);
    for digit in text.bytes().take(length.min(3)) {
        unit /= 10;
        value += i64::from(digit - b'0') * unit;
    }
    (length > 0).then(|| (value, unit, &text[length..]))
}

/// `Z` or `±hh:mm`, in minutes east of UTC.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = number(rest, 2, 0..=14)?;
    let (minutes, rest) = number(rest.strip_prefix(':')?, 2, 0..=59)?;
    (rest.is_empty() && hours * 60 + minutes <= 14 * 60).then_some(sign * (hours * 60 + minutes))
}

/// Reads a dateTime.
pub(crate) fn moment(node: &Node<'_>) -> Result<Moment, ImportError> {
    let text = node.text()?;
    Moment::parse(text).ok_or_else(|| ImportError::Date {
        path: node.path.clone(),
        problem: format!(
            "expected YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a time zone, found {text:?}"
        ),
    })
}

/// What a period is about, which decides what a start before 1970 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// The time of a decision. None is made before 1970, so a start before it is no bound at all.
    Decision,
    /// The time of data. A start before 1970 is a bound that cannot be expressed.
    Data,
}

/// Reads a Period. `None` where it bounds nothing.
pub(crate) fn period(
    node: &Node<'_>,
    of: Of,
    notes: &mut Vec<String>,
) -> Result<Option<Period>, ImportError> {
    let fields = node.object(&["start", "end"])?;
    let date = |problem: &str| ImportError::Date { path: node.path.clone(), problem: problem.to_owned() };
    let (start, end) = (fields.get("start"), fields.get("end"));
    if start.is_none() && end.is_none() {
        return Err(date("has neither a start nor an end"));
    }
    let mut read = |node: Option<Node<'_>>| -> Result<Option<Moment>, ImportError> {
        let Some(node) = node else { return Ok(None) };
        let moment = moment(&node)?;
        if !moment.zoned {
            notes.push(format!("{}: a date without a time zone, taken as UTC", node.path));
        }
        Ok(Some(moment))
    };
    let (start, end) = (read(start)?, read(end)?);
    if let (Some(start), Some(end)) = (start, end)
        && start.start_ms >= end.end_ms
    {
        return Err(date("ends before it starts"));
    }
    let start_ms = match start.map(|start| u64::try_from(start.start_ms)) {
        None => 0,
        Some(Ok(start_ms)) => start_ms,
        Some(Err(_)) if of == Of::Data => {
            return Err(ImportError::DataBefore1970 { path: format!("{}.start", node.path) });
        }
        Some(Err(_)) => {
            notes.push(format!("{}.start: before 1970, left out: nothing is decided before 1970", node.path));
            0
        }
    };
    let end_ms = match end.map(|end| u64::try_from(end.end_ms)) {
        None => u64::MAX,
        Some(Ok(end_ms)) if end_ms > 0 => end_ms,
        Some(_) => return Err(date("ends before 1970")),
    };
    let period = Period { start_ms, end_ms };
    Ok((period != Period::ALWAYS).then_some(period))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, TimeZone, Utc};
    use proptest::prelude::*;

    use super::*;

    fn ms(rfc3339: &str) -> i64 {
        DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_millis()
    }

    fn stands_for(text: &str, start: &str, end: &str) {
        let moment = Moment::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((moment.start_ms, moment.end_ms), (ms(start), ms(end)), "{text}");
    }

    #[test]
    fn a_value_stands_for_all_of_what_it_names() {
        stands_for("2016", "2016-01-01T00:00:00Z", "2017-01-01T00:00:00Z");
        stands_for("2016-12", "2016-12-01T00:00:00Z", "2017-01-01T00:00:00Z");
        stands_for("2016-02", "2016-02-01T00:00:00Z", "2016-03-01T00:00:00Z");
        stands_for("2016-02-29", "2016-02-29T00:00:00Z", "2016-03-01T00:00:00Z");
        stands_for("1964-01-01", "1964-01-01T00:00:00Z", "1964-01-02T00:00:00Z");
        stands_for("2016-06-23T17:02:33+10:00", "2016-06-23T07:02:33Z", "2016-06-23T07:02:34Z");
        stands_for("2016-05-26T00:41:10-04:00", "2016-05-26T04:41:10Z", "2016-05-26T04:41:11Z");
        stands_for("2016-05-26T00:41:10.5Z", "2016-05-26T00:41:10.5Z", "2016-05-26T00:41:10.6Z");
        stands_for("2016-05-26T00:41:10.12345Z", "2016-05-26T00:41:10.123Z", "2016-05-26T00:41:10.124Z");
    }

    #[test]
    fn what_is_not_a_fhir_date_is_refused() {
        for text in [
            "",
            "16",
            "0000",
            "20160",
            "2016-",
            "2016-1",
            "2016-13",
            "2016-00",
            "2015-02-29",
            "1900-02-29",
            "2016-04-31",
            "2016-01-00",
            "2016-01-01T",
            "2016-01-01T10:00Z",
            "2016-01-01T10:00:00",
            "2016-01-01T24:00:00Z",
            "2016-01-01T10:60:00Z",
            "2016-01-01T23:59:60Z",
            "2016-01-01T10:00:00.Z",
            "2016-01-01T10:00:00z",
            "2016-01-01T10:00:00+15:00",
            "2016-01-01T10:00:00+14:01",
            "2016-01-01T10:00:00+1000",
            "2016-01-01 10:00:00Z",
            "2016-01-01T10:00:00ZZ",
            " 2016",
            "2016 ",
            "+016",
            "２０１６",
        ] {
            assert_eq!(Moment::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn days_agree_with_another_calendar(days in -719_162_i64..2_932_896) {
            let date = Utc.timestamp_opt(days * 86_400, 0).unwrap();
            let text = format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day());
            let moment = Moment::parse(&text).unwrap();
            prop_assert_eq!(moment.start_ms, days * DAY_MS);
            prop_assert_eq!(moment.end_ms, (days + 1) * DAY_MS);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Moment::parse(&text);
        }
    }
}
