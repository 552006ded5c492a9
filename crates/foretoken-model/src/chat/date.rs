//! Dates as Python's `strftime` writes them, for the templates that state today's.

/// The codes that are understood.
const CODES: &str = "aAbBdeHIjmMpSyYFT%";
const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
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

/// A moment in Coordinated Universal Time.
struct Moment {
    year: u64,
    /// From 1.
    month: usize,
    /// From 1.
    day: u64,
    /// From 1.
    day_of_year: u64,
    weekday: &'static str,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    /// `seconds` since the beginning of 1970, by the Gregorian calendar.
    fn new(seconds: u64) -> Self {
        let days = seconds / 86_400;
        let leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        // A cycle of 400 years has 146,097 days; the loops below run within one cycle.
        let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
        while left >= 365 + u64::from(leap(year)) {
            left -= 365 + u64::from(leap(year));
            year += 1;
        }
        let day_of_year = left + 1;
        let february = 28 + u64::from(leap(year));
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 1;
        for length in lengths {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Self {
            year,
            month,
            day: left + 1,
            day_of_year,
            weekday: DAYS[(days % 7) as usize],
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    /// The text of one code; none if it is unknown.
    fn code(&self, code: char) -> Option<String> {
        let month = MONTHS[self.month - 1];
        let half_day = (self.hour + 11) % 12 + 1;
        Some(match code {
            'a' => self.weekday[..3].to_owned(),
            'A' => self.weekday.to_owned(),
            'b' => month[..3].to_owned(),
            'B' => month.to_owned(),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'H' => format!("{:02}", self.hour),
            'I' => format!("{half_day:02}"),
            'j' => format!("{:03}", self.day_of_year),
            'm' => format!("{:02}", self.month),
            'M' => format!("{:02}", self.minute),
            'p' => (if self.hour < 12 { "AM" } else { "PM" }).to_owned(),
            'S' => format!("{:02}", self.second),
            'y' => format!("{:02}", self.year % 100),
            'Y' => self.year.to_string(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

/// Writes `seconds` since the beginning of 1970 as `pattern` says; `%-d` drops leading zeros.
pub(super) fn format(seconds: u64, pattern: &str) -> Result<String, String> {
    let moment = Moment::new(seconds);
    let mut out = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut code = letters.next();
        let bare = code == Some('-');
        if bare {
            code = letters.next();
        }
        let text = code.and_then(|code| moment.code(code)).ok_or_else(|| {
            format!("strftime_now knows no such code in `{pattern}`; it knows {CODES}")
        })?;
        match text.trim_start_matches(['0', ' ']) {
            short if bare && !short.is_empty() => out.push_str(short),
            _ if bare => out.push('0'),
            _ => out.push_str(&text),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from Python's `datetime.fromtimestamp(t, timezone.utc).strftime`.
    #[test]
    fn dates_are_those_of_python() {
        let long = "%A %a %d %B %b %m %Y %y %H:%M:%S %I %p %j %e %F %T %%";
        let cases = [
            (
                0,
                "Thursday Thu 01 January Jan 01 1970 70 00:00:00 12 AM 001  1 1970-01-01 00:00:00 %",
            ),
            (
                951_782_400,
                "Tuesday Tue 29 February Feb 02 2000 00 00:00:00 12 AM 060 29 2000-02-29 00:00:00 %",
            ),
            (
                1_735_689_599,
                "Tuesday Tue 31 December Dec 12 2024 24 23:59:59 11 PM 366 31 2024-12-31 23:59:59 %",
            ),
            (
                4_107_542_400,
                "Monday Mon 01 March Mar 03 2100 00 00:00:00 12 AM 060  1 2100-03-01 00:00:00 %",
            ),
        ];
        for (seconds, text) in cases {
            assert_eq!(format(seconds, long).unwrap(), text);
        }
        assert_eq!(format(0, "%-d %-m %-H %-e").unwrap(), "1 1 0 1");
    }

    #[test]
    fn unknown_codes_are_errors_and_all_known_ones_are_listed() {
        for pattern in ["%Q", "%", "%-"] {
            assert!(format(0, pattern).unwrap_err().contains(CODES));
        }
        for code in ' '..='~' {
            assert_eq!(Moment::new(0).code(code).is_some(), CODES.contains(code), "{code}");
        }
    }
}
