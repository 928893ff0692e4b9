package config

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"

	"github.com/sluice-outbox/sluice/internal/names"
)

// RouteEvent is what a route sees of an event.
type RouteEvent struct {
	AggregateType, AggregateID, Type, Key, ContentType string
	Headers                                            map[string]string
}

// routeFields are the names a template can use; headers have a function.
type routeFields struct{ AggregateType, AggregateID, Type, Key, ContentType string }

// Topic gives the topic of an event as the relay would. An error says that there is none.
func Topic(route string, e RouteEvent) (string, error) {
	t, err := template.New("route").Option("missingkey=error").Funcs(template.FuncMap{
		"lower":  strings.ToLower,
		"header": func(name string) string { return e.Headers[name] },
	}).Parse(route)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, routeFields{
		e.AggregateType, e.AggregateID, e.Type, e.Key,
		e.ContentType,
	}); err != nil {
		return "", err
	}
	return b.String(), names.ValidateEventTopic(b.String())
}

// checkRoute tries a route on an event. The relay does the same when it starts; here the mistake
// can still be given its place in the file.
func checkRoute(text string) error {
	if text == "" {
		return fmt.Errorf("expected a template such as outbox.event.{{.AggregateType}}, got nothing")
	}
	topic, err := Topic(text, RouteEvent{
		AggregateType: "order", AggregateID: "42",
		Type: "OrderPlaced", Key: "42", ContentType: "application/json",
	})
	switch {
	case err == nil:
		return nil
	case topic != "" && strings.Contains(text, "header"):
		return nil // a template over headers gives a name only with the headers of a real event
	case topic != "" && !strings.Contains(text, "{{"):
		return err
	case topic != "":
		return fmt.Errorf("gives %w for an event of the aggregate type order", err)
	}
	const want = `expected a template over .AggregateType, .AggregateID, .Type, .Key, .ContentType ` +
		`and {{header "name"}}`
	if m := unknownName.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s, got %q%s", want, m[1], didYouMean(m[1], routeNames))
	}
	return fmt.Errorf("%s: %s", want, strings.TrimPrefix(err.Error(), "template: route:"))
}

// unknownName matches what text/template says of a field that does not exist.
var unknownName = regexp.MustCompile(`can't evaluate field (\w+) in type`)

var routeNames = []string{"AggregateType", "AggregateID", "Type", "Key", "ContentType"}
