package names

import (
	"fmt"
	"regexp"
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

// clip keeps text from an entry short enough for an error message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
