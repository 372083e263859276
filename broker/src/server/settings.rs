//! The layers of choices: default, file, environment, flag, `--set`; each later one wins, and each setting knows where it
//! came from.
//!
//! A setting has one name everywhere: `hot-tail` in the file, `RINGMQ_HOT_TAIL` in the environment, `--hot-tail` or `--set
//! hot-tail=...` on the command line. A name that is none is an error, so that a slip of the pen is not a silent default.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::str::FromStr;

use super::config::{Config, DataPlane, Flush, LogFormat, Retention};
use super::units::{parse_size, parse_span_ms, show_size, show_span_ms};
use crate::disk::probe::FlushMethod;
use crate::shard::settings::DelayLevels;

/// What environment variables begin with.
const ENVIRONMENT_PREFIX: &str = "RINGMQ_";

type Result<T> = std::result::Result<T, String>;

struct Setting {
    name: &'static str,
    read: fn(&mut Config, &str) -> Result<()>,
    show: fn(&Config) -> String,
}

macro_rules! setting {
    ($name:literal, $config:ident, $text:ident, $read:expr, $show:expr) => {
        Setting {
            name: $name,
            read: |$config, $text| {
                $read;
                Ok(())
            },
            show: |$config| $show,
        }
    };
}

/// A setting of TLS by our name and by RocketMQ's.
macro_rules! tls {
    ($name:literal, $theirs:literal) => {
        setting!($name, c, t, c.tls.set($theirs, t).map_err(|error| error.to_string())?, c.tls.show($theirs))
    };
}

const SETTINGS: &[Setting] = &[
    setting!("name", c, t, c.name = t.into(), c.name.clone()),
    setting!("cluster", c, t, c.cluster = t.into(), c.cluster.clone()),
    setting!("namesrv", c, t, c.namesrv = addresses(t)?, c.namesrv.join(";")),
    setting!("listen", c, t, c.listen = parse(t, "an address such as 127.0.0.1:10911")?, c.listen.to_string()),
    setting!("advertise", c, t, c.advertise = optional(t), c.advertise.clone().unwrap_or_default()),
    setting!("data", c, t, c.data = t.into(), c.data.display().to_string()),
    setting!("shards", c, t, c.shards = maybe(t, "a number")?, shown(c.shards)),
    setting!("cores", c, t, c.cores = cores(t)?, join(&c.cores)),
    setting!("flush", c, t, c.flush = choice(t, FLUSH)?, name_of(c.flush, FLUSH)),
    setting!("flush-method", c, t, c.flush_method = choice(t, FLUSH_METHOD)?, name_of(c.flush_method, FLUSH_METHOD)),
    setting!("data-plane", c, t, c.data_plane = choice(t, DATA_PLANE)?, name_of(c.data_plane, DATA_PLANE)),
    setting!("hot-tail", c, t, c.hot_tail_bytes = parse_size(t)?, show_size(c.hot_tail_bytes)),
    setting!("cache", c, t, c.cache_bytes = parse_size(t)?, show_size(c.cache_bytes)),
    setting!("segment", c, t, c.segment_size_bytes = parse_size(t)?, show_size(c.segment_size_bytes)),
    setting!("alignment", c, t, c.alignment_bytes = maybe(t, "a number of bytes")?, shown(c.alignment_bytes)),
    setting!("retention", c, t, c.retention = retention(t)?, show_retention(c.retention)),
    setting!("ops", c, t, c.ops = maybe(t, "an address such as 127.0.0.1:9100")?, shown(c.ops)),
    setting!(
        "auto-create-topics",
        c,
        t,
        c.auto_create_topics = parse(t, "true or false")?,
        c.auto_create_topics.to_string()
    ),
    setting!(
        "default-topic-queues",
        c,
        t,
        c.topic_queue_count_default = parse(t, "a number")?,
        c.topic_queue_count_default.to_string()
    ),
    setting!(
        "delay-levels",
        c,
        t,
        c.features.delay_levels = DelayLevels::parse(t).map_err(|error| error.to_string())?,
        c.features.delay_levels.to_string()
    ),
    setting!(
        "timer-max-delay",
        c,
        t,
        c.features.timer_max_delay_ms = parse_span_ms(t)?,
        show_span_ms(c.features.timer_max_delay_ms)
    ),
    setting!(
        "recall-messages",
        c,
        t,
        c.features.recall_messages = parse(t, "true or false")?,
        c.features.recall_messages.to_string()
    ),
    setting!(
        "transaction-timeout",
        c,
        t,
        c.features.transaction_timeout_ms = parse_span_ms(t)?,
        show_span_ms(c.features.transaction_timeout_ms)
    ),
    setting!(
        "transaction-check-interval",
        c,
        t,
        c.features.transaction_check_interval_ms = parse_span_ms(t)?,
        show_span_ms(c.features.transaction_check_interval_ms)
    ),
    setting!(
        "transaction-checks",
        c,
        t,
        c.features.transaction_check_max = parse(t, "a number")?,
        c.features.transaction_check_max.to_string()
    ),
    setting!(
        "property-filter",
        c,
        t,
        c.features.property_filter = parse(t, "true or false")?,
        c.features.property_filter.to_string()
    ),
    setting!(
        "server-side-reset",
        c,
        t,
        c.features.server_side_reset = parse(t, "true or false")?,
        c.features.server_side_reset.to_string()
    ),
    setting!(
        "auto-create-groups",
        c,
        t,
        c.features.auto_create_groups = parse(t, "true or false")?,
        c.features.auto_create_groups.to_string()
    ),
    setting!("trace-topic", c, t, c.trace_topic = parse(t, "true or false")?, c.trace_topic.to_string()),
    setting!("connections", c, t, c.connection_count_max = parse(t, "a number")?, c.connection_count_max.to_string()),
    setting!(
        "exit-on-failed-shard",
        c,
        t,
        c.exit_on_failed_shard = parse(t, "true or false")?,
        c.exit_on_failed_shard.to_string()
    ),
    tls!("tls-mode", "tls.server.mode"),
    tls!("tls-cert", "tls.server.certPath"),
    tls!("tls-key", "tls.server.keyPath"),
    tls!("tls-key-password", "tls.server.keyPassword"),
    tls!("tls-client-auth", "tls.server.need.client.auth"),
    tls!("tls-client-trust", "tls.server.trustCertPath"),
    tls!("tls-client-verify", "tls.server.authClient"),
    tls!("tls-test-mode", "tls.test.mode.enable"),
    tls!("tls-namesrv", "tls.enable"),
    tls!("tls-namesrv-cert", "tls.client.certPath"),
    tls!("tls-namesrv-key", "tls.client.keyPath"),
    tls!("tls-namesrv-key-password", "tls.client.keyPassword"),
    tls!("tls-namesrv-trust", "tls.client.trustCertPath"),
    tls!("tls-namesrv-verify", "tls.client.authServer"),
    tls!("tls-config", "tls.config.file"),
    setting!("log-format", c, t, c.log_format = choice(t, LOG_FORMAT)?, name_of(c.log_format, LOG_FORMAT)),
    setting!("log-level", c, t, c.log_level = t.into(), c.log_level.clone()),
];

const FLUSH: &[(&str, Flush)] = &[("sync", Flush::Sync), ("async", Flush::Async)];
const FLUSH_METHOD: &[(&str, Option<FlushMethod>)] = &[
    ("auto", None),
    ("write-through", Some(FlushMethod::WriteThrough)),
    ("linked-sync", Some(FlushMethod::LinkedSync)),
];
const DATA_PLANE: &[(&str, DataPlane)] =
    &[("auto", DataPlane::Auto), ("ring", DataPlane::Ring), ("glommio", DataPlane::Glommio)];
const LOG_FORMAT: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Names and values of RocketMQ's `broker.conf` that mean the same here.
const ROCKETMQ_NAMES: &[(&str, &str)] = &[
    ("brokerName", "name"),
    ("brokerClusterName", "cluster"),
    ("namesrvAddr", "namesrv"),
    ("brokerIP1", "advertise"),
    ("storePathRootDir", "data"),
    ("autoCreateTopicEnable", "auto-create-topics"),
    ("defaultTopicQueueNums", "default-topic-queues"),
    ("traceTopicEnable", "trace-topic"),
    ("mapedFileSizeCommitLog", "segment"),
    ("mappedFileSizeCommitLog", "segment"),
    ("messageDelayLevel", "delay-levels"),
    ("recallMessageEnable", "recall-messages"),
    ("transactionCheckMax", "transaction-checks"),
    ("enablePropertyFilter", "property-filter"),
    ("useServerSideResetOffset", "server-side-reset"),
    ("autoCreateSubscriptionGroup", "auto-create-groups"),
    ("tls.server.mode", "tls-mode"),
    ("tls.server.certPath", "tls-cert"),
    ("tls.server.keyPath", "tls-key"),
    ("tls.server.keyPassword", "tls-key-password"),
    ("tls.server.need.client.auth", "tls-client-auth"),
    ("tls.server.trustCertPath", "tls-client-trust"),
    ("tls.server.authClient", "tls-client-verify"),
    ("tls.test.mode.enable", "tls-test-mode"),
    ("tls.enable", "tls-namesrv"),
    ("tls.client.certPath", "tls-namesrv-cert"),
    ("tls.client.keyPath", "tls-namesrv-key"),
    ("tls.client.keyPassword", "tls-namesrv-key-password"),
    ("tls.client.trustCertPath", "tls-namesrv-trust"),
    ("tls.client.authServer", "tls-namesrv-verify"),
    ("tls.config.file", "tls-config"),
];

/// Choices under way.
#[derive(Default)]
pub struct Settings {
    config: Config,
    origins: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Reads a file: TOML, or RocketMQ's properties when its name ends in `.conf` or `.properties`.
    ///
    /// # Errors
    /// When it cannot be read, or says what is not understood.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
        let is_properties = path.extension().is_some_and(|extension| extension == "conf" || extension == "properties");
        if is_properties { self.properties(&text, &shown) } else { self.toml(&text, &shown) }
    }

    fn toml(&mut self, text: &str, origin: &str) -> Result<()> {
        let table: toml::Table =
            toml::from_str(text).map_err(|error| format!("{origin}: {error}").replace('\n', " "))?;
        for (name, value) in table {
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Array(items) => {
                    let items = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), Into::into));
                    items.collect::<Vec<_>>().join(if name == "namesrv" { ";" } else { "," })
                }
                // RocketMQ's names of TLS have dots, which are tables in TOML.
                toml::Value::Table(table) if name == "tls" => {
                    self.dotted(&name, table, origin)?;
                    continue;
                }
                toml::Value::Table(_) => return Err(format!("{origin}: [{name}] is not a setting")),
                other => other.to_string(),
            };
            self.set(&name, &text, origin)?;
        }
        Ok(())
    }

    fn dotted(&mut self, prefix: &str, table: toml::Table, origin: &str) -> Result<()> {
        for (name, value) in table {
            let name = format!("{prefix}.{name}");
            match value {
                toml::Value::Table(table) => self.dotted(&name, table, origin)?,
                toml::Value::String(text) => self.dotted_one(&name, &text, origin)?,
                other => self.dotted_one(&name, &other.to_string(), origin)?,
            }
        }
        Ok(())
    }

    fn dotted_one(&mut self, name: &str, value: &str, origin: &str) -> Result<()> {
        if self.rocketmq(name, value, origin)? { Ok(()) } else { Err(format!("{origin}: {name:?} is not a setting")) }
    }

    /// Settings that RingMQ has no use for are named in a warning, not refused: such a file was not written for it.
    fn properties(&mut self, text: &str, origin: &str) -> Result<()> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
        for line in lines {
            let (key, value) = line.split_once('=').ok_or_else(|| format!("{origin}: {line:?} is not NAME=VALUE"))?;
            let (key, value) = (key.trim(), value.trim());
            if !self.rocketmq(key, value, origin)? {
                tracing::warn!(setting = key, file = origin, "a setting of RocketMQ without meaning here");
            }
        }
        Ok(())
    }

    /// Chooses one value under RocketMQ's own name; false when that name means nothing here.
    fn rocketmq(&mut self, key: &str, value: &str, origin: &str) -> Result<bool> {
        match key {
            "listenPort" => self.set("listen", &format!("{}:{value}", self.config.listen.ip()), origin)?,
            "flushDiskType" => self.set("flush", if value == "ASYNC_FLUSH" { "async" } else { "sync" }, origin)?,
            "transactionTimeOut" => self.set("transaction-timeout", &format!("{value}ms"), origin)?,
            "transactionCheckInterval" => self.set("transaction-check-interval", &format!("{value}ms"), origin)?,
            "timerMaxDelaySec" => self.set("timer-max-delay", &format!("{value}s"), origin)?,
            "fileReservedTime" => self.set("retention", &format!("{value}h"), origin)?,
            _ => match ROCKETMQ_NAMES.iter().find(|(theirs, _)| *theirs == key) {
                Some((_, ours)) => self.set(ours, value, origin)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Reads the variables that begin with `RINGMQ_`.
    ///
    /// # Errors
    /// When one names no setting or its value is not understood.
    pub fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<()> {
        for (variable, value) in variables {
            if let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) {
                self.set(&name.to_ascii_lowercase().replace('_', "-"), &value, &variable)?;
            }
        }
        Ok(())
    }

    /// Reads `NAME=VALUE`; the name may be RocketMQ's.
    ///
    /// # Errors
    /// When it is not that.
    pub fn assignment(&mut self, text: &str) -> Result<()> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("--set {text}: write NAME=VALUE"))?;
        let (name, value) = (name.trim(), value.trim());
        if self.rocketmq(name, value, "--set")? {
            return Ok(());
        }
        // Only RocketMQ's names have capitals: one without meaning here is no slip of the pen.
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            tracing::warn!(setting = name, "a setting of RocketMQ without meaning here");
            return Ok(());
        }
        self.set(name, value, "--set")
    }

    /// Chooses one value.
    ///
    /// # Errors
    /// When there is no such setting or the value is not understood.
    pub fn set(&mut self, name: &str, value: &str, origin: &str) -> Result<()> {
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .ok_or_else(|| format!("{origin}: {name:?} is not a setting (--print-config lists them all)"))?;
        (setting.read)(&mut self.config, value).map_err(|error| format!("{origin}: {name}: {error}"))?;
        self.origins.insert(setting.name, origin.to_owned());
        Ok(())
    }

    /// Every setting as a line of TOML with where it came from.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            let value = toml::Value::String((setting.show)(&self.config));
            let origin = self.origins.get(setting.name).map_or("default", String::as_str);
            writeln!(text, "{:<44} # {origin}", format!("{} = {value}", setting.name)).expect("a string takes all");
        }
        text
    }

    /// The choices.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn finish(self) -> Result<Config> {
        self.config.validate()?;
        Ok(self.config)
    }
}

fn parse<T: FromStr>(text: &str, wanted: &str) -> Result<T> {
    text.trim().parse().map_err(|_| format!("{text:?} is not {wanted}"))
}

fn maybe<T: FromStr>(text: &str, wanted: &str) -> Result<Option<T>> {
    if text.is_empty() { Ok(None) } else { parse(text, wanted).map(Some) }
}

fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn addresses(text: &str) -> Result<Vec<String>> {
    let each = text.split([';', ',']).map(str::trim).filter(|address| !address.is_empty());
    each.map(|address| match address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(_))) if !host.is_empty() => Ok(address.to_owned()),
        _ => Err(format!("{address:?} is not HOST:PORT")),
    })
    .collect()
}

fn cores(text: &str) -> Result<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let wanted = "a list of cores such as 1,3 or 0-3";
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last): (usize, usize) = (parse(first, wanted)?, parse(last, wanted)?);
                if last < first || last - first > 4096 {
                    return Err(format!("{part:?} is not {wanted}"));
                }
                cores.extend(first..=last);
            }
            None => cores.push(parse(part, wanted)?),
        }
    }
    Ok(cores)
}

fn join(cores: &[usize]) -> String {
    cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T> {
    let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| format!("{text:?} is none of {}", names()))
}

fn name_of<T: PartialEq>(value: T, choices: &[(&str, T)]) -> String {
    choices.iter().find(|(_, other)| *other == value).map_or_else(String::new, |(name, _)| (*name).to_owned())
}

/// A span of time, a size, both, or `none`.
fn retention(text: &str) -> Result<Retention> {
    let mut retention = Retention { age_ms: None, bytes: None };
    for part in text.split(',').map(str::trim).filter(|part| *part != "none") {
        if let Ok(age_ms) = parse_span_ms(part) {
            retention.age_ms = Some(age_ms);
        } else {
            let wrong = |_| format!("{part:?} is neither a span of time such as 72h nor a size such as 100GiB");
            retention.bytes = Some(parse_size(part).map_err(wrong)?);
        }
    }
    Ok(retention)
}

fn show_retention(retention: Retention) -> String {
    let parts = [retention.age_ms.map(show_span_ms), retention.bytes.map(show_size)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".into() } else { parts.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_and_each_value_says_where_it_came_from() {
        let mut settings = Settings::default();
        settings
            .toml("name = 'from-file'\ncores = [1, 3]\nhot-tail = '1GiB'\nshards = 2\n", "a.toml")
            .expect("understood");
        let variables = [("RINGMQ_HOT_TAIL", "2GiB"), ("PATH", "/bin"), ("RINGMQ_NAMESRV", "a:1;b:2")];
        settings.environment(variables.map(|(k, v)| (k.into(), v.into())).into_iter()).expect("understood");
        settings.set("name", "from-flag", "--name").expect("understood");
        settings.assignment("retention=72h,10GiB").expect("understood");
        settings.set("data", "/data", "--data").expect("understood");
        let printed = settings.print();
        let config = settings.finish().expect("valid");
        assert_eq!((config.name.as_str(), config.hot_tail_bytes, config.shards), ("from-flag", 2 << 30, Some(2)));
        assert_eq!((config.cores, config.namesrv), (vec![1, 3], vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert_eq!(config.retention, Retention { age_ms: Some(72 * 3_600_000), bytes: Some(10 << 30) });
        let line = |name: &str| printed.lines().find(|line| line.starts_with(name)).expect("printed").to_owned();
        assert!(line("hot-tail").ends_with("# RINGMQ_HOT_TAIL") && line("cores").ends_with("# a.toml"), "{printed}");
        assert!(line("cluster").contains("\"DefaultCluster\"") && line("cluster").ends_with("# default"));
    }

    #[test]
    fn printed_configuration_is_a_file_that_means_the_same() {
        let mut first = Settings::default();
        for assignment in ["data=/x", "cores=0-2", "ops=127.0.0.1:9100", "retention=none", "flush-method=linked-sync"] {
            first.assignment(assignment).expect("understood");
        }
        let mut second = Settings::default();
        second.toml(&first.print(), "printed.toml").expect("understood");
        assert_eq!(second.finish(), first.finish());
    }

    #[test]
    fn unknown_names_and_values_are_refused_in_one_sentence() {
        let refused = [
            "hottail=1GiB",
            "hot-tail=much",
            "flush=maybe",
            "cores=x",
            "cores=3-1",
            "namesrv=here",
            "listen",
            "shards=-1",
        ];
        for assignment in refused {
            let sentence = Settings::default().assignment(assignment).expect_err(assignment);
            assert_eq!(sentence.lines().count(), 1, "{sentence}");
        }
        assert!(Settings::default().toml("[broker]\nname = 'x'\n", "a.toml").is_err());
        assert!(Settings::default().toml("name = \n", "a.toml").is_err_and(|error| error.lines().count() == 1));
    }

    #[test]
    fn tls_is_set_by_our_names_and_by_rocketmqs_in_every_layer() {
        let mut settings = Settings::default();
        settings
            .toml("tls-mode = 'enforcing'\n[tls.server]\ncertPath = '/c'\nauthClient = true\n", "a.toml")
            .expect("both");
        settings.properties("tls.server.keyPath=/k\n", "broker.conf").expect("RocketMQ's");
        settings.environment([("RINGMQ_TLS_KEY_PASSWORD".to_owned(), "secret".to_owned())].into_iter()).expect("ours");
        settings.assignment("tls.server.need.client.auth=require").expect("RocketMQ's");
        let printed = settings.print();
        let shown = |name: &str| settings.config.tls.show(name);
        assert_eq!(
            ["mode", "certPath", "keyPath"].map(|name| shown(&format!("tls.server.{name}"))),
            ["enforcing", "/c", "/k"]
        );
        assert_eq!(
            (shown("tls.server.need.client.auth"), shown("tls.server.authClient")),
            ("require".into(), "true".into())
        );
        assert!(!printed.contains("secret") && printed.contains("tls-mode = \"enforcing\""), "{printed}");
        assert!(settings.assignment("tls.server.mode=maybe").is_err_and(|error| error.lines().count() == 1));
        assert!(settings.toml("[tls.server]\nnothing = 1\n", "a.toml").is_err());
    }

    #[test]
    fn broker_conf_of_rocketmq_is_understood() {
        let mut settings = Settings::default();
        let text = "# a\nbrokerClusterName = C\nbrokerName=b\nbrokerId=0\nlistenPort=20911\nflushDiskType=ASYNC_FLUSH\nfileReservedTime=48\n";
        settings.properties(text, "broker.conf").expect("understood");
        settings.set("data", "/data", "--data").expect("understood");
        let config = settings.finish().expect("valid");
        assert_eq!((config.name.as_str(), config.cluster.as_str(), config.listen.port()), ("b", "C", 20911));
        assert_eq!((config.flush, config.retention.age_ms), (Flush::Async, Some(48 * 3_600_000)));
        let mut settings = Settings::default();
        for assignment in ["brokerName=c", "listenPort=1234", "data=/d"] {
            settings.assignment(assignment).expect("both kinds of names");
        }
        let config = settings.finish().expect("valid");
        assert_eq!((config.name.as_str(), config.listen.port()), ("c", 1234));
    }
}
