package consistency

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

// Route templates are read here a second time, apart from the relay.

// DefaultRoute is the route of an outbox whose configuration has none.
const DefaultRoute = "outbox.event.{{.AggregateType}}"

var (
	topicPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
	// simpleAction is a template action that depends on nothing but aggregate type and type.
	simpleAction = regexp.MustCompile(
		`\{\{-?\s*(lower\s+)?\.(AggregateType|Type)(\s*\|\s*lower)?\s*-?\}\}`)
)

// validTopic: an event can go to a topic that Kafka accepts and that is nobody's internal one.
func validTopic(name string) bool {
	return name != "." && name != ".." && topicPattern.MatchString(name) &&
		!strings.HasPrefix(name, "__") && !strings.HasPrefix(name, "sluice.")
}

// route gives the topic of an event. It belongs to one goroutine.
type route struct {
	template *template.Template
	simple   bool // what it gives depends on aggregate type and type alone
	known    map[[2]string]string
	names    map[string]string // overrides, so that equal names share their memory
	current  *entry
	out      bytes.Buffer
}

const routeMemory = 4096

func newRoute(text string) (*route, error) {
	r := &route{known: map[[2]string]string{}, names: map[string]string{}}
	r.simple = !strings.Contains(simpleAction.ReplaceAllString(text, ""), "{{")
	var err error
	r.template, err = template.New("route").Option("missingkey=error").Funcs(
		template.FuncMap{"lower": strings.ToLower, "header": r.header}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	if _, err := r.execute(&entry{
		aggregateType: []byte("order"), aggregateID: []byte("1"),
		eventType: []byte("created"),
	}); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *route) header(name string) string {
	for _, h := range r.current.headers {
		if h.name == name {
			return string(h.value)
		}
	}
	return ""
}

func (r *route) execute(e *entry) (string, error) {
	r.current = e
	r.out.Reset()
	err := r.template.Execute(&r.out, struct {
		AggregateType, AggregateID, Type, Key, ContentType string
	}{
		string(e.aggregateType), string(e.aggregateID), string(e.eventType), string(e.recordKey()),
		string(e.contentType),
	})
	r.current = nil
	if err != nil {
		return "", fmt.Errorf("route: %w", err)
	}
	return r.out.String(), nil
}

// topic is where the event belongs. ok is false if there is no valid topic: then it belongs to the
// dead letters.
func (r *route) topic(e *entry) (name string, ok bool) {
	if len(e.topic) > 0 {
		name, found := r.names[string(e.topic)]
		if !found {
			if len(r.names) >= routeMemory {
				clear(r.names)
			}
			name = string(e.topic)
			r.names[name] = name
		}
		return name, validTopic(name)
	}
	if r.simple {
		if name, found := r.known[[2]string{string(e.aggregateType), string(e.eventType)}]; found {
			return name, name != ""
		}
	}
	name, err := r.execute(e)
	if err != nil || !validTopic(name) {
		name = ""
	}
	if r.simple {
		if len(r.known) >= routeMemory {
			clear(r.known)
		}
		r.known[[2]string{string(e.aggregateType), string(e.eventType)}] = name
	}
	return name, name != ""
}

// literalPrefix is what every topic of a route begins with.
func literalPrefix(text string) (prefix string, whole bool) {
	if i := strings.Index(text, "{{"); i >= 0 {
		return text[:i], false
	}
	return text, true
}
