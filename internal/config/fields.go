package config

import "strings"

// settingOf has the setting of each field of relay.Config that the relay's messages name.
var settingOf = map[string]string{
	"Config.DeadLetter.On":    "relay.dead_letter.on",
	"Config.Topics.OnChanged": "relay.topics.on_changed",
}

// NameSettings returns a message of the relay with the setting after each field that it names. The
// library knows only its fields; whoever reads the output of the command has only the file.
func NameSettings(message string) string {
	for field, setting := range settingOf {
		message = strings.ReplaceAll(message, field, field+" ("+setting+")")
	}
	return message
}
