//! The date that a template may ask for.

use std::{fmt, str::FromStr};

/// A day of the Gregorian calendar. There is no clock behind it: a prompt that changes overnight is not
/// reproducible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Date {
    /// A day from 0001-01-01 to 9999-12-31; `None` if there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let valid = (1..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
        (valid && u16::from(day) <= days_of(year, month)).then_some(Self { year, month, day })
    }

    /// Python's `strftime`, in English and at midnight; `None` for a directive that has no meaning here.
    pub(super) fn format(self, format: &str) -> Option<String> {
        let (month, weekday) = (MONTHS[usize::from(self.month - 1)], WEEKDAYS[self.weekday()]);
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next()? {
                '%' => out.push('%'),
                'Y' => out += &format!("{:04}", self.year),
                'y' => out += &format!("{:02}", self.year % 100),
                'm' => out += &format!("{:02}", self.month),
                'd' => out += &format!("{:02}", self.day),
                'e' => out += &format!("{:2}", self.day),
                'j' => out += &format!("{:03}", self.day_of_year()),
                'B' => out += month,
                'b' | 'h' => out += &month[..3],
                'A' => out += weekday,
                'a' => out += &weekday[..3],
                'F' => out += &self.to_string(),
                'H' | 'M' | 'S' => out += "00",
                'T' => out += "00:00:00",
                'I' => out += "12",
                'p' => out += "AM",
                '-' => match chars.next()? {
                    'd' => out += &self.day.to_string(),
                    'm' => out += &self.month.to_string(),
                    _ => return None,
                },
                _ => return None,
            }
        }
        Some(out)
    }

    fn day_of_year(self) -> u16 {
        (1..self.month).map(|month| days_of(self.year, month)).sum::<u16>() + u16::from(self.day)
    }

    /// 0 is Sunday.
    fn weekday(self) -> usize {
        let past = u32::from(self.year) - 1;
        // 0001-01-01 was a Monday.
        let days = past * 365 + past / 4 - past / 100 + past / 400 + u32::from(self.day_of_year());
        (days % 7) as usize
    }
}

fn days_of(year: u16, month: u8) -> u16 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u16::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = String;

    /// Reads YYYY-MM-DD.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '-');
        let (year, month, day) = (parts.next(), parts.next(), parts.next());
        let date = || Self::new(year?.parse().ok()?, month?.parse().ok()?, day?.parse().ok()?);
        date().ok_or_else(|| "expected a day as YYYY-MM-DD, for instance 2025-04-16".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_python_does() {
        // datetime(2024, 2, 29).strftime(...)
        let date: Date = "2024-02-29".parse().unwrap();
        let all = date.format("%d %b %Y|%B %-d, %y|%A %a|%j|%F %H:%M:%S %I %p|%e %h %T %%").unwrap();
        assert_eq!(
            all,
            "29 Feb 2024|February 29, 24|Thursday Thu|060|2024-02-29 00:00:00 12 AM|29 Feb 00:00:00 %"
        );
        assert_eq!(Date::new(2000, 1, 1).unwrap().format("%A").unwrap(), "Saturday");
        assert_eq!(Date::new(1, 1, 1).unwrap().format("%A").unwrap(), "Monday");
        assert_eq!(date.format("%Q"), None);
        assert_eq!(date.format("%"), None);
    }

    #[test]
    fn only_days_that_exist() {
        for wrong in ["2023-02-29", "1900-02-29", "2024-13-01", "2024-00-01", "2024-04-31", "0-1-1", "x", ""]
        {
            assert!(wrong.parse::<Date>().is_err(), "{wrong}");
        }
        assert!("2000-02-29".parse::<Date>().is_ok());
    }
}
