//! Settings are checked before anything is bound.

use yiwang_gateway::{Config, RawConfig};

#[test]
fn settings_are_checked() {
    let read = |text: &str| -> Result<Config, String> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        Config::try_from(raw).map_err(|error| error.to_string())
    };
    let whole = "[listen]\n[[subscribe]]\nname='b'\nhost='h'\nclient_id='c'\n[kafka]\n";
    let config = read(whole).unwrap();
    assert_eq!(config.subscribe[0].filters, ["iot/v1/+/+/up/#"]);
    assert_eq!(config.kafka.unwrap().topics, ["yiwang.intake.v1"]);
    assert!(read("").unwrap().listen.is_none());
    for (text, named) in [
        ("[listen]\nadress='127.0.0.1:1'", "adress"),
        ("[listen]\naddress='0.0.0.0:1883'", "insecure_dev"),
        ("[listen]\npacket_bytes_max=10", "packet_bytes_max"),
        ("[listen]\nreceive_maximum=0", "receive_maximum"),
        ("[listen]\nkeep_alive_max_s=1", "keep_alive_max_s"),
        ("[[subscribe]]\nname='b'\nhost='h'\nclient_id=''", "client_id"),
        ("[[subscribe]]\nname='b'\nhost='h'\nclient_id='c'\nqos=2", "qos"),
        ("[[subscribe]]\nname='b'\nhost='h'\nclient_id='c'\nfilters=['a#']", "filters"),
        ("[kafka]\ntopics=[]", "kafka.topics"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(named), "{text}: {error}");
    }
    let twins = "[[subscribe]]\nname='a'\nhost='h'\nclient_id='c'\n".repeat(2);
    assert!(read(&twins).unwrap_err().contains("client_id"));
}
