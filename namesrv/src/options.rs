//! Settings that may change while a name server runs, under RocketMQ's names (318, 319, `--set`).

/// What an administrator may switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `orderMessageEnable`: routes of ordered topics say the order of brokers, from the namespace `ORDER_TOPIC_CONFIG`.
    pub order_message: bool,
    /// `returnOrderTopicConfigToBroker`: a registration is answered with that namespace.
    pub return_order_config: bool,
    /// `enableAllTopicList`: 206 is answered.
    pub all_topic_list: bool,
    /// `supportActingMaster`: routes show the lowest slave of a masterless broker name as its master.
    pub acting_master: bool,
    /// `notifyMinBrokerIdChanged`: brokers with `enableActingMaster` are told when their lowest id changes (905).
    pub notify_min_id: bool,
    /// `deleteTopicWithBrokerRegistration`: every registration is the whole table, so topics that it has not are gone.
    pub delete_with_registration: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            order_message: false,
            return_order_config: true,
            all_topic_list: true,
            acting_master: false,
            notify_min_id: true,
            delete_with_registration: false,
        }
    }
}

/// Why options were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Not one of them: paths, addresses and sizes are chosen on the command line.
    #[error("{0} cannot be changed while the name server runs")]
    Unknown(String),
    /// Neither true nor false.
    #[error("{0} is true or false")]
    Value(String),
    /// No `name=value`.
    #[error("{0:?} is not NAME=VALUE")]
    Line(String),
}

impl Options {
    /// Names and values, in the order of the names.
    pub fn list(&self) -> [(&'static str, bool); 6] {
        [
            ("deleteTopicWithBrokerRegistration", self.delete_with_registration),
            ("enableAllTopicList", self.all_topic_list),
            ("notifyMinBrokerIdChanged", self.notify_min_id),
            ("orderMessageEnable", self.order_message),
            ("returnOrderTopicConfigToBroker", self.return_order_config),
            ("supportActingMaster", self.acting_master),
        ]
    }

    /// Changes one.
    ///
    /// # Errors
    /// When there is no such option or it has no such value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let option = match name {
            "deleteTopicWithBrokerRegistration" => &mut self.delete_with_registration,
            "enableAllTopicList" => &mut self.all_topic_list,
            "notifyMinBrokerIdChanged" => &mut self.notify_min_id,
            "orderMessageEnable" => &mut self.order_message,
            "returnOrderTopicConfigToBroker" => &mut self.return_order_config,
            "supportActingMaster" => &mut self.acting_master,
            _ => return Err(OptionError::Unknown(name.to_owned())),
        };
        *option = value.parse().map_err(|_| OptionError::Value(name.to_owned()))?;
        Ok(())
    }

    /// Changes all that a text in the form of Java's properties names, or none of it.
    ///
    /// # Errors
    /// As [`Options::set`].
    pub fn update(&mut self, properties: &str) -> Result<(), OptionError> {
        let mut changed = *self;
        for line in properties.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])) {
            let (name, value) = line.split_once('=').ok_or_else(|| OptionError::Line(line.to_owned()))?;
            changed.set(name.trim(), value.trim())?;
        }
        *self = changed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_change_together_or_not_at_all() {
        let mut options = Options::default();
        for (text, error) in [
            ("orderMessageEnable=true\nkvConfigPath=/etc/passwd", OptionError::Unknown("kvConfigPath".to_owned())),
            ("orderMessageEnable=true\nenableAllTopicList=1", OptionError::Value("enableAllTopicList".to_owned())),
            ("orderMessageEnable=true\nx", OptionError::Line("x".to_owned())),
        ] {
            assert_eq!((options.update(text), options), (Err(error), Options::default()), "{text}");
        }
        options.update("#c\n orderMessageEnable = true \r\n\nsupportActingMaster=true").unwrap();
        assert!(options.order_message && options.acting_master);
    }

    #[test]
    fn every_option_is_listed_in_order_and_can_be_set() {
        let mut options = Options::default();
        let names = options.list().map(|(name, _)| name);
        assert!(names.is_sorted());
        for (index, name) in names.into_iter().enumerate() {
            let before = options.list()[index].1;
            options.set(name, &(!before).to_string()).unwrap();
            assert_eq!(options.list()[index].1, !before, "{name}");
        }
    }
}
