package preflight

import "fmt"

// Level of a finding.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // works, and can hurt
	Fail Level = "fail" // a relay would not work, or not as promised
)

// Finding is one thing that was looked at.
type Finding struct {
	Level  Level  `json:"level"`
	Area   string `json:"area"` // configuration, redis, layout, kafka, topics or audit
	Name   string `json:"name"`
	Detail string `json:"detail"`
	// Fix says what to do; empty for OK.
	Fix string `json:"fix,omitempty"`
}

// list collects the findings of one area.
type list struct {
	area string
	all  *[]Finding
}

func (l list) add(level Level, name, fix, format string, args ...any) {
	*l.all = append(*l.all, Finding{
		Level: level, Area: l.area, Name: name,
		Detail: fmt.Sprintf(format, args...), Fix: fix,
	})
}

func (l list) ok(name, format string, args ...any) { l.add(OK, name, "", format, args...) }

func (l list) warn(name, fix, format string, args ...any) {
	l.add(Warn, name, fix, format, args...)
}

func (l list) fail(name, fix, format string, args ...any) {
	l.add(Fail, name, fix, format, args...)
}

// unknown is for what could not be found out.
func (l list) unknown(name string, err error, fix string) {
	l.add(Warn, name, fix, "could not be checked: %v", err)
}

// Worst gives the worst level, OK for none.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		if f.Level == Fail || f.Level == Warn && worst == OK {
			worst = f.Level
		}
	}
	return worst
}
