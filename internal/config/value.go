package config

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const redacted = "[redacted]"

// parse turns the text of s into the value of its field. It checks enum and range.
// The error's text begins with "expected" and does not repeat the value.
func (s Setting) parse(text string) (reflect.Value, error) {
	v := reflect.New(s.typ).Elem()
	switch v.Interface().(type) {
	case string:
		v.SetString(text)
	case bool:
		b, err := parseBool(text)
		if err != nil {
			return v, err
		}
		v.SetBool(b)
	case int:
		n, err := parseInt(text)
		if err != nil {
			return v, err
		}
		v.SetInt(int64(n))
	case Size:
		n, err := parseSize(text)
		if err != nil {
			return v, err
		}
		v.SetInt(int64(n))
	case Duration:
		if s.Off && text == "off" {
			v.SetInt(int64(Off))
			break
		}
		d, err := parseDuration(text)
		if err != nil {
			if s.Off {
				err = fmt.Errorf("%w, or off", err)
			}
			return v, err
		}
		v.SetInt(int64(d))
	case []string:
		v.Set(reflect.ValueOf(splitList(text)))
	case []int:
		ns := []int{}
		for _, t := range splitList(text) {
			n, err := parseInt(t)
			if err != nil {
				return v, fmt.Errorf("expected whole numbers separated by commas")
			}
			ns = append(ns, n)
		}
		v.Set(reflect.ValueOf(ns))
	default:
		panic("config: no parser for " + s.typ.String())
	}
	return v, s.check(v)
}

// check checks enum and range. The zero value of a setting without a default is always allowed: it
// is "not set".
func (s Setting) check(v reflect.Value) error {
	if len(s.Enum) > 0 {
		switch x := v.Interface().(type) {
		case string:
			if x == "" && s.Default == "" {
				return nil
			}
			if !slices.Contains(s.Enum, x) {
				return fmt.Errorf("expected %s%s", orList(s.Enum), didYouMean(x, s.Enum))
			}
		case []string:
			for _, e := range x {
				if !slices.Contains(s.Enum, e) {
					return fmt.Errorf("expected a list of %s%s", orList(s.Enum), didYouMean(e, s.Enum))
				}
			}
		}
	}
	if v.CanInt() && !(s.Off && v.Int() == int64(Off)) {
		for _, bound := range []struct {
			text, word string
			sign       int64
		}{{s.Min, "at least", 1}, {s.Max, "at most", -1}} {
			if bound.text == "" {
				continue
			}
			limit := s.bound(bound.text)
			if (v.Int() < limit && bound.sign > 0) || (v.Int() > limit && bound.sign < 0) {
				return fmt.Errorf("expected %s %s", bound.word, bound.text)
			}
		}
	}
	return nil
}

// bound parses a min or max tag, which a test has tried.
func (s Setting) bound(text string) int64 {
	plain := Setting{typ: s.typ}
	v, err := plain.parse(text)
	if err != nil {
		panic(fmt.Sprintf("config: bound %q of %s: %v", text, s.Path, err))
	}
	return v.Int()
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("expected true or false")
}

func parseInt(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("expected a whole number")
	}
	return n, nil
}

func splitList(text string) []string {
	list := []string{}
	for e := range strings.SplitSeq(text, ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	return list
}

// format is the inverse of parse.
func format(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strings.Join(x, ",")
	case []int:
		texts := make([]string, len(x))
		for i, n := range x {
			texts[i] = strconv.Itoa(n)
		}
		return strings.Join(texts, ",")
	default:
		return fmt.Sprint(x)
	}
}

func kindName(t reflect.Type, off bool) string {
	switch reflect.Zero(t).Interface().(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case int:
		return "whole number"
	case Size:
		return "size"
	case Duration:
		if off {
			return "duration or off"
		}
		return "duration"
	case []string:
		return "list of text"
	case []int:
		return "list of whole numbers"
	}
	panic("config: no name for " + t.String())
}

// expectation is kindName as the object of "expected".
func (s Setting) expectation() string {
	switch name := s.Type(); name {
	case "text", "true or false":
		return name
	case "size":
		return "a size such as 16MiB"
	case "duration":
		return "a duration such as 30s"
	case "duration or off":
		return "a duration such as 30s, or off"
	default:
		return "a " + name
	}
}

// RedactURL removes the password from a URL, for messages.
func RedactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return redacted // it cannot be told where the password is
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "redacted")
	}
	return u.String()
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
