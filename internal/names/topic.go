package names

import (
	"fmt"
	"regexp"
	"strings"
)

var topic = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// TopicRule says which names Kafka accepts for topics (org.apache.kafka.common.internals.Topic).
const TopicRule = "1 to 249 of letters, digits, '.', '_' and '-'"

// ValidateTopic reports whether Kafka accepts name for a topic.
func ValidateTopic(name string) error {
	if name == "." || name == ".." || !topic.MatchString(name) {
		return fmt.Errorf("%q is not a Kafka topic name: want %s", clip(name), TopicRule)
	}
	return nil
}

// Reserved prefixes: topics of Sluice's own, of any outbox, and Kafka's internal ones. A record
// that an application could send there would be taken for a position, an audit's state or a dead
// letter.
const (
	ownPrefix   = "sluice."
	kafkaPrefix = "__"
)

// ValidateEventTopic reports whether events may be sent to a topic: Kafka accepts its name, and it
// is nobody's internal one.
func ValidateEventTopic(name string) error {
	if err := ValidateTopic(name); err != nil {
		return err
	}
	for _, prefix := range []string{ownPrefix, kafkaPrefix} {
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("topic %s is not for events: names that begin with %q are reserved", name,
				prefix)
		}
	}
	return nil
}

// ValidateDeadLetterTopic reports whether an outbox may send its dead letters to a topic: its own
// default, or one that events could go to.
func ValidateDeadLetterTopic(outbox, name string) error {
	if name == DeadLetterTopic(outbox) {
		return nil
	}
	return ValidateEventTopic(name)
}

// clip keeps text from an entry short enough for an error message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
