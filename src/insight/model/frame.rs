//! How far back analytics go, and in what steps.

use time::Duration;

use crate::error::{Code, Invalid, Result};

/// Of minutes, so many days are kept.
const MINUTES_KEPT: Duration = Duration::days(7);
const LONGEST: Duration = Duration::days(30);
const MOST_POINTS: i64 = 2_000;

/// A window and its steps, which fit each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub window: Duration,
    pub step: Duration,
}

impl Frame {
    /// A day when no window is given; steps of five minutes, of hours in windows of more than two days.
    pub fn of(window: Option<Duration>, step: Option<Duration>) -> Result<Self, Invalid> {
        let window = window.unwrap_or(Duration::DAY);
        if !(Duration::MINUTE..=LONGEST).contains(&window) {
            return Err(wrong("must be 1 minute to 30 days").under("window"));
        }
        let usual = if window > Duration::days(2) { Duration::HOUR } else { Duration::minutes(5).min(window) };
        let frame = Self { window, step: step.unwrap_or(usual) };
        frame.check().map_err(|invalid| invalid.under("step"))?;
        Ok(frame)
    }

    fn check(&self) -> Result<(), Invalid> {
        let Self { window, step } = *self;
        if !(Duration::MINUTE..=window).contains(&step) {
            return Err(wrong("must be 1 minute or more, and not longer than the window"));
        }
        if window.whole_seconds() / step.whole_seconds() > MOST_POINTS {
            return Err(wrong("must be longer: a window may have 2000 steps"));
        }
        if window > MINUTES_KEPT && step.whole_seconds() % 3_600 != 0 {
            return Err(wrong("must be whole hours in a window of more than 7 days"));
        }
        Ok(())
    }
}

fn wrong(detail: &str) -> Invalid {
    Invalid::new(Code::InvalidValue, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_a_bounded_number_of_steps_that_are_kept() {
        let frame = |window, step| Frame::of(window, step).map(|frame| (frame.window, frame.step));
        let (minute, hour, day) = (Duration::MINUTE, Duration::HOUR, Duration::DAY);
        assert_eq!(frame(None, None), Ok((day, minute * 5)));
        assert_eq!(frame(Some(day * 30), None), Ok((day * 30, hour)));
        assert_eq!(frame(Some(minute), None), Ok((minute, minute)));
        assert_eq!(frame(Some(day * 7), Some(minute * 6)), Ok((day * 7, minute * 6)));
        assert_eq!(frame(Some(minute * 2_000), Some(minute)), Ok((minute * 2_000, minute)));
        let refused = [
            (Some(day * 31), None),
            (Some(Duration::SECOND), None),
            (Some(minute * 2_001), Some(minute)),
            (Some(day * 8), Some(minute * 90)),
            (Some(hour), Some(hour * 2)),
            (None, Some(Duration::ZERO)),
        ];
        for (window, step) in refused {
            assert_eq!(frame(window, step).map_err(|wrong| wrong.code), Err(Code::InvalidValue), "{window:?} {step:?}");
        }
    }
}
