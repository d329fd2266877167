//! Which numbers the command line takes.
use super::*;

#[test]
fn a_range_holds_its_ends_and_nothing_else() {
    let layers = whole(1..=10);
    assert_eq!((layers("1"), layers("10")), (Ok(1), Ok(10)));
    for wrong in ["0", "11", "-1", "1.5", "", "x", "99999999999999999999999"] {
        assert_eq!(layers(wrong), Err("expected 1 to 10".into()), "{wrong}");
    }
    let penalty = real(-100.0..=100.0);
    assert_eq!((penalty("-100"), penalty("0.5")), (Ok(-100.0), Ok(0.5)));
    assert!(["NaN", "inf", "100.1", "1e39"].iter().all(|wrong| penalty(wrong).is_err()));
}

#[test]
fn minus_one_means_what_it_means_elsewhere() {
    assert_eq!((max_tokens("-1"), top_k("-1"), top_k("0")), (Ok(NonZeroUsize::MAX), Ok(0), Ok(0)));
    assert!(seed("-1").is_ok() && seed("-1") != seed("-1"));
    assert_eq!((seed("-2"), seed("18446744073709551615")), (Ok(u64::MAX - 1), Ok(u64::MAX)));
    assert!(max_tokens("0").unwrap_err().contains("until the context is full"));
    assert!(max_tokens("-2").is_err() && top_k("-2").is_err() && seed("-9223372036854775809").is_err());
}

#[test]
fn temperatures_that_no_logit_survives_are_refused() {
    assert!(["0", "0.0001", "100"].iter().all(|right| temperature(right).is_ok()));
    assert!(["-0.5", "0.00001", "101", "NaN", "inf"].iter().all(|wrong| temperature(wrong).is_err()));
    assert!(share::<f64>("1") == Ok(1.0) && share::<f32>("0").is_err() && share::<f32>("NaN").is_err());
}
