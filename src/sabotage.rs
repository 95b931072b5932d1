//! Guards that a test build can switch off, so that `make chaos` sees its checker notice. Without the feature
//! `sabotage` nothing can be switched off, and the questions cost nothing.

/// What can be switched off, by the value of `CAIRN_SABOTAGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// `stamp_check`: a cached answer is taken without comparing stamps.
    StampCheck,
    /// `forget_bump`: forgetting leaves the stamps as they are.
    ForgetBump,
    /// `flight_stamp`: who waits for a computation under way does not look at its stamp.
    FlightStamp,
    /// `random_tag`: tags are counted instead of drawn, so that a restored database repeats them.
    RandomTag,
    /// `membership`: whoever passed the gate as a member of a circle is believed to be one ever after.
    Membership,
    /// `index_tag`: scopes in memory are searched without comparing their tags.
    IndexTag,
    /// `index_stays`: scopes leave memory at random. No guard: nobody may notice.
    IndexStays,
}

/// Whether this process was told to do without a guard.
#[cfg(feature = "sabotage")]
pub fn is_off(guard: Guard) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<Guard>> =
        std::sync::LazyLock::new(|| match std::env::var("CAIRN_SABOTAGE").as_deref() {
            Ok("stamp_check") => Some(Guard::StampCheck),
            Ok("forget_bump") => Some(Guard::ForgetBump),
            Ok("flight_stamp") => Some(Guard::FlightStamp),
            Ok("random_tag") => Some(Guard::RandomTag),
            Ok("membership") => Some(Guard::Membership),
            Ok("index_tag") => Some(Guard::IndexTag),
            Ok("index_stays") => Some(Guard::IndexStays),
            _ => None,
        });
    *CHOSEN == Some(guard)
}

/// Nothing is ever off.
#[cfg(not(feature = "sabotage"))]
pub const fn is_off(_: Guard) -> bool {
    false
}
