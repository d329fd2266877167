//! The cache is where huggingface_hub has it.
use super::*;

/// Variables, and what `huggingface_hub.constants.HF_HUB_CACHE` of huggingface_hub 2.4.0 is with them.
#[derive(serde::Deserialize)]
struct Row {
    variables: std::collections::BTreeMap<String, String>,
    cache: PathBuf,
}

#[test]
fn the_environment_names_the_cache_as_huggingface_hub_has_it() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("../hub_caches.json")).unwrap();
    assert!(rows.len() > 20);
    let home = |user: Option<&str>| (user == Some("root")).then(|| "/root".to_owned());
    for row in rows {
        let found = hub_cache(|name| row.variables.get(name).map(OsString::from), home);
        assert_eq!(found.as_ref(), Some(&row.cache), "{:?}", row.variables);
    }
}

#[test]
fn without_a_home_the_users_own_counts() {
    let found = hub_cache(|_| None, |user| user.is_none().then(|| "/home/ada/".to_owned()));
    assert_eq!(found, Some(PathBuf::from("/home/ada/.cache/huggingface/hub")));
    assert_eq!(hub_cache(|_| None, |_| None), Some(PathBuf::from("~/.cache/huggingface/hub")));
}
