package relay

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/sluice-outbox/sluice/internal/names"
)

// routeCacheSize bounds the topics that are remembered by aggregate type and type. A service has
// tens of types; the bound is for one that makes them up without end.
const routeCacheSize = 4096

// router turns an event into its topic. It belongs to one goroutine.
type router struct {
	tmpl *template.Template
	// constant is the topic when the template names no field.
	constant string
	// cacheable: the template depends on AggregateType and Type alone.
	cacheable bool
	cache     map[routeKey]string
	interned  map[string]string
	// reserved are further topics that no event may be sent to, such as that of the dead letters.
	reserved []string
	buf      bytes.Buffer
	current  *entry // of which the header func gives a header
}

type routeKey struct{ aggregateType, eventType string }

// routeFields are the names a template can use.
type routeFields struct{ AggregateType, AggregateID, Type, Key, ContentType string }

// newRouter parses the template and tries it on an event, so that a mistake is found at start and
// not at the first entry.
func newRouter(text string, reserved ...string) (*router, error) {
	r := &router{cache: map[routeKey]string{}, interned: map[string]string{}, reserved: reserved}
	tmpl, err := template.New("route").Option("missingkey=error").Funcs(template.FuncMap{
		"lower":  strings.ToLower,
		"header": r.header,
	}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	r.tmpl = tmpl
	const known = "the fields are AggregateType, AggregateID, Type, Key and ContentType, and " +
		"{{header \"name\"}}"
	fields, other := templateNames(tmpl.Root)
	r.cacheable = !other
	for f := range fields {
		switch f {
		case "AggregateType", "Type":
		case "AggregateID", "Key", "ContentType":
			r.cacheable = false
		default:
			return nil, fmt.Errorf("route: unknown field .%s: %s", f, known)
		}
	}
	if err := tmpl.Execute(&r.buf, routeFields{
		"order", "42", "OrderPlaced", "42",
		"application/json",
	}); err != nil {
		return nil, fmt.Errorf("route: %w: %s", err, known)
	}
	if r.cacheable && len(fields) == 0 {
		r.constant = r.buf.String()
		if err := r.allowed(r.constant); err != nil {
			return nil, fmt.Errorf("route: %w", err)
		}
	}
	return r, nil
}

// topic gives the topic of e: its override if it has one, else the route's. An error means that
// there is no valid one; its text is the detail of the dead letter.
func (r *router) topic(e *entry) (string, error) {
	if len(e.topic) > 0 {
		topic := r.intern(e.topic)
		if err := r.allowed(topic); err != nil {
			return "", fmt.Errorf("topic override: %w", err)
		}
		return topic, nil
	}
	if r.constant != "" {
		return r.constant, nil
	}
	if r.cacheable {
		// The compiler makes no copy of the bytes for a map index with converted keys.
		if t, ok := r.cache[routeKey{string(e.aggregateType), string(e.eventType)}]; ok {
			return t, nil
		}
	}
	r.buf.Reset()
	r.current = e
	err := r.tmpl.Execute(&r.buf, routeFields{
		string(e.aggregateType), string(e.aggregateID),
		string(e.eventType), string(e.partitionKey()), string(e.contentType),
	})
	r.current = nil
	if err != nil {
		return "", fmt.Errorf("route: %w", err)
	}
	t := r.intern(r.buf.Bytes())
	if err := r.allowed(t); err != nil {
		return "", fmt.Errorf("route: %w", err)
	}
	if r.cacheable {
		if len(r.cache) >= routeCacheSize {
			clear(r.cache)
		}
		r.cache[routeKey{string(e.aggregateType), string(e.eventType)}] = t
	}
	return t, nil
}

// intern returns b as a string that is shared between the records of one topic.
func (r *router) intern(b []byte) string {
	if t, ok := r.interned[string(b)]; ok {
		return t
	}
	if len(r.interned) >= routeCacheSize {
		clear(r.interned)
	}
	t := string(b)
	r.interned[t] = t
	return t
}

func (r *router) header(name string) string {
	if r.current == nil {
		return "header"
	}
	for _, h := range r.current.headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// allowed follows Kafka's rule for topic names (org.apache.kafka.common.internals.Topic), and keeps
// events out of the reserved topics.
func (r *router) allowed(topic string) error {
	if err := names.ValidateEventTopic(topic); err != nil {
		return err
	}
	if slices.Contains(r.reserved, topic) {
		return fmt.Errorf("topic %s is not for events", topic)
	}
	return nil
}

// templateNames lists the fields a template uses, and whether it uses anything that makes
// the result depend on more than them.
func templateNames(n parse.Node) (fields map[string]bool, other bool) {
	fields = map[string]bool{}
	var walk func(parse.Node)
	walkPipe := func(p *parse.PipeNode) {
		if p == nil {
			return
		}
		for _, c := range p.Cmds {
			for _, a := range c.Args {
				walk(a)
			}
		}
	}
	walk = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ListNode:
			if n != nil {
				for _, c := range n.Nodes {
					walk(c)
				}
			}
		case *parse.ActionNode:
			walkPipe(n.Pipe)
		case *parse.PipeNode:
			walkPipe(n)
		case *parse.IfNode:
			walkPipe(n.Pipe)
			walk(n.List)
			walk(n.ElseList)
		case *parse.FieldNode:
			fields[n.Ident[0]] = true
		case *parse.IdentifierNode:
			other = other || n.Ident == "header"
		case *parse.TextNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.CommentNode:
		default:
			other = true
		}
	}
	walk(n)
	return fields, other
}

// clip keeps text from an entry short enough for an error message.
func clip(b []byte) string {
	const most = 80
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}
