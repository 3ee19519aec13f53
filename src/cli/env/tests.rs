use proptest::prelude::*;

use super::*;

fn settings_of(client: Client) -> Settings {
    settings(&Proxy::new(&Config::default()).expect("an address"), client)
}

fn put(client: Client, before: &str) -> Result<String, String> {
    settings_of(client).put(client, Some(before)).map(|after| after.expect("a file"))
}

fn take(client: Client, after: &str) -> String {
    settings_of(client).take(client, Some(after)).expect("readable").unwrap_or_default()
}

#[test]
fn every_client_gets_the_address() {
    let config = Config::default();
    for &client in Client::value_variants() {
        let text = lines(&config, client, &Scope::default()).expect("lines");
        assert!(text.contains("127.0.0.1") && text.contains("3128") && text.ends_with('\n'), "{client:?}: {text}");
    }
    let sh = lines(&config, Client::Sh, &Scope::default()).expect("lines");
    assert!(sh.starts_with("export http_proxy=http://127.0.0.1:3128\nexport https_proxy="), "{sh}");
    assert!(!sh.contains("HTTP_PROXY"));
    assert!(sh.contains("localhost,127.0.0.1,127.0.0.0/8,::1,10.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16"), "{sh}");
}

#[test]
fn there_has_to_be_an_address_to_name() {
    let mut config = Config::default();
    config.listeners[0].addresses = vec!["127.0.0.1:0".parse().expect("an address")];
    assert!(lines(&config, Client::Sh, &Scope::default()).is_err());
}

/// What a user may have in each file.
const FILES: [(Client, &str); 12] = [
    (Client::Sh, "umask 022\nexport http_proxy=http://old:1"),
    (Client::Curl, "# mine\n--silent\n"),
    (Client::Gradle, "org.gradle.daemon=true\n"),
    (Client::Pip, "[install]\nuser = true\n\n[global]\ntimeout = 60\nproxy = http://old:1\n\n[list]\nformat = columns\n"),
    (Client::Pip, "[global]"),
    (Client::Dnf, "[main]\ngpgcheck=True\n[other]\nproxy=http://theirs:1\n"),
    (Client::Npm, "registry=https://registry.example.org/\nproxy=http://old:1\n//registry.example.org/:_authToken=${TOKEN}\n"),
    (Client::Git, "[user]\n\tname = Somebody\n[http]\n\tsslVerify = true\n[http \"https://example.org\"]\n\tproxy = http://theirs:1\n"),
    (Client::Cargo, "[build]\njobs = 2\n\n[http]\ntimeout = 30 # seconds\n\n[net]\nretry = 3\n"),
    (Client::Docker, "{\n\t\"auths\": {\n\t\t\"example.org\": {\"auth\": \"c2VjcmV0\"}\n\t},\n\t\"credsStore\": \"pass\"\n}"),
    (Client::Firefox, "{\"policies\": {\"DisableTelemetry\": true}}\n"),
    (Client::Maven, "<settings xmlns=\"x\">\n  <!-- <proxies> </proxies> -->\n  <proxies>\n  </proxies>\n</settings>\n"),
];

#[test]
fn what_is_put_in_is_taken_out_and_nothing_else_changes() {
    for (client, before) in FILES {
        let after = put(client, before).unwrap_or_else(|error| panic!("{client:?}: {error}"));
        assert!(after.contains("127.0.0.1"), "{after}");
        assert_eq!(put(client, &after).as_deref(), Ok(after.as_str()), "{client:?}: a second time");
        assert_eq!(take(client, &after), before, "{client:?} from:\n{after}");
        assert_eq!(take(client, before), before, "{client:?}: there was nothing to take out");
    }
    for &client in Client::value_variants() {
        let after = settings_of(client).put(client, None).expect("put").expect("a file");
        assert_eq!(settings_of(client).take(client, Some(&after)), Ok(None), "{client:?}: what was made is removed");
        assert_eq!(put(client, &after).as_deref(), Ok(after.as_str()), "{client:?}: a second time");
    }
}

#[test]
fn a_key_goes_into_the_table_that_is_there() {
    let after = put(Client::Cargo, "[http]\ntimeout = 30\nproxy = \"http://old:1\"\n").expect("merged");
    let parsed: toml::Table = after.parse().expect("TOML");
    assert_eq!(parsed["http"]["proxy"].as_str(), Some("http://127.0.0.1:3128"));
    assert_eq!(parsed["http"]["timeout"].as_integer(), Some(30));
    let after = put(Client::Docker, "{\"proxies\": {\"tcp://other:1\": {}}, \"auths\": {}}").expect("merged");
    let parsed: serde_json::Value = serde_json::from_str(&after).expect("JSON");
    assert_eq!(parsed["proxies"]["default"]["httpsProxy"], "http://127.0.0.1:3128");
    assert!(parsed["proxies"]["tcp://other:1"].is_object() && parsed["auths"].is_object());
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    let refused = |client, before| put(client, before).expect_err(before);
    assert!(refused(Client::Cargo, "[http\n").starts_with("this is no TOML"));
    assert!(refused(Client::Cargo, "http = { timeout = 3 }\n").contains("add by hand: http.proxy"));
    assert!(refused(Client::Cargo, "http.timeout = 3\n").contains("add by hand"));
    assert!(refused(Client::Cargo, "text = \"\"\"\n[http]\n\"\"\"\n").contains("add by hand"));
    assert!(refused(Client::Pip, "[global\nproxy = x\n").contains("line 1"));
    assert!(refused(Client::Docker, "{\n\"a\": 1,\n}").contains("no JSON, from line 3"));
    assert!(refused(Client::Docker, "{\"proxies\": []}").contains("no object"));
    assert!(
        refused(Client::Docker, "{\"proxies\": {\"default\": {\n\"httpProxy\": \"http://old:1\"}}}").contains("line 2 sets \"httpProxy\"")
    );
    assert!(refused(Client::Maven, "<project/>").contains("no <settings>"));
}

proptest! {
    #[test]
    fn any_text_is_given_back(text in "([a-z=\\[\\]{}\":,# <>/!-]{0,12}\n?){0,8}", client in 0..Client::value_variants().len()) {
        let client = Client::value_variants()[client];
        // What is ours alone takes the place of whatever was there.
        prop_assume!(!matches!(settings_of(client), Settings::Own(_)) && !text.trim().is_empty());
        if let Ok(after) = put(client, &text) {
            let once_more = put(client, &after);
            prop_assert_eq!(once_more.as_deref(), Ok(after.as_str()));
            let back = take(client, &after);
            let is_json = matches!(client, Client::Docker | Client::Firefox);
            prop_assert!(back == text || is_json, "{:?} from {:?}", back, after);
        }
    }
}
