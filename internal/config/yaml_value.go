package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// joined undoes a peculiarity of the YAML library: within {} it takes the plain scalar
// localhost:9092 in a list for a mapping of one field, although YAML wants a space after the colon
// of a mapping.
func joined(n ast.Node) (text string, ok bool) {
	m, ok := n.(*ast.MappingNode)
	if !ok || m.GetToken().Type != token.MappingValueType || len(m.Values) != 1 {
		return "", false
	}
	key, colon, value := m.Values[0].Key.GetToken(), m.Values[0].GetToken(),
		m.Values[0].Value.GetToken()
	if value.Position.Offset != colon.Position.Offset+1 ||
		value.Position.Line != colon.Position.Line || len(value.Value) == 0 {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

// scalar gives the text of a scalar whose YAML type fits s.
func (r *reader) scalar(s Setting, n ast.Node) (string, bool) {
	if text, ok := joined(n); ok && s.typ.Kind() == reflect.String {
		return text, true
	}
	switch x := n.(type) {
	case *ast.StringNode:
		switch reflect.Zero(s.typ).Interface().(type) {
		case string, Duration, Size:
			return x.Value, true
		}
		if x.GetToken().Type == token.StringType {
			return x.Value, true // not quoted: the parser of the value says what was expected
		}
	case *ast.LiteralNode:
		if s.typ.Kind() == reflect.String {
			return x.Value.Value, true
		}
	case *ast.IntegerNode:
		switch reflect.Zero(s.typ).Interface().(type) {
		case int, Size:
			return fmt.Sprint(x.Value), true
		case Duration:
			r.complain(n.GetToken(), "%s: expected a duration with a unit, got %s (did you mean %ss?)",
				s.Path, n.GetToken().Value, n.GetToken().Value)
			return "", false
		case string:
			r.complain(n.GetToken(), "%s: expected text, got the number %s (put it in quotes)", s.Path,
				n.GetToken().Value)
			return "", false
		}
	case *ast.BoolNode:
		if s.typ.Kind() == reflect.Bool {
			return strconv.FormatBool(x.Value), true
		}
	}
	r.complain(start(n), "%s: expected %s, got %s", s.Path, s.expectation(), describe(n))
	return "", false
}

// list gives the elements of a sequence joined as the environment would have them.
func (r *reader) list(s Setting, n ast.Node) (string, bool) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.complain(start(n), "%s: expected a list such as [a, b], got %s", s.Path, describe(n))
		return "", false
	}
	element := s
	element.typ = s.typ.Elem()
	texts := make([]string, 0, len(seq.Values))
	for _, e := range seq.Values {
		e = r.resolve(e)
		if e == nil {
			return "", false
		}
		text, ok := r.scalar(element, e)
		if !ok {
			return "", false
		}
		// Elements are checked here, where their own position is known.
		if _, err := element.parse(text); err != nil {
			r.complain(start(e), "%s: %s", s.Path, sayGot(err, text))
			return "", false
		}
		if strings.ContainsAny(text, ",") {
			r.complain(e.GetToken(), "%s: expected an element without a comma, got %q", s.Path, text)
			return "", false
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ","), true
}

// describe names what is in the file, without repeating long values.
func describe(n ast.Node) string {
	switch x := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		if x.GetToken().Type != token.StringType {
			return fmt.Sprintf("the quoted text %q (remove the quotes)", clip(x.Value))
		}
		return fmt.Sprintf("%q", clip(x.Value))
	case *ast.LiteralNode:
		return "a block of text"
	default:
		return clip(n.GetToken().Value)
	}
}

func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
