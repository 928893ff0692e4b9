package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// reader walks the syntax tree of one file against the description of the settings.
type reader struct {
	c       *Config
	file    string
	anchors map[string]ast.Node
	depth   int
	ps      *problems
}

// maxDepth is beyond what a file without cycles can reach; an alias inside its own anchor makes a
// cycle.
const maxDepth = 32

// readYAML takes the settings from the text of a file.
func (c *Config) readYAML(file string, text []byte, ps *problems) {
	r := &reader{c: c, file: shorten(file), anchors: map[string]ast.Node{}, ps: ps}
	text = withoutMark(text)
	if line := tooDeep(text); line > 0 {
		ps.add(fmt.Sprintf("%s:%d", r.file, line), "brackets are nested more than %d deep", deepestFlow)
		c.failed[""] = true
		return
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			r.complain(syntax.Token, "%s", syntax.Message)
		} else {
			ps.add(r.file, "%v", err)
		}
		c.failed[""] = true
		return
	}
	seen := 0
	for _, doc := range tree.Docs {
		if isNothing(doc.Body) {
			continue
		}
		if seen++; seen > 1 {
			r.complain(doc.Body.GetToken(), "expected one YAML document, got a second one")
			return
		}
		r.section("", doc.Body)
	}
}

// shorten makes paths below the working directory short, as an editor wants them.
func shorten(file string) string {
	if file == "-" || !filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return file
}

func isNothing(n ast.Node) bool {
	switch n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return true
	}
	return false
}

func (r *reader) where(t *token.Token) string {
	if t == nil || t.Position == nil {
		return r.file
	}
	return fmt.Sprintf("%s:%d:%d", r.file, t.Position.Line, t.Position.Column)
}

func (r *reader) complain(t *token.Token, format string, args ...any) {
	r.ps.add(r.where(t), format, args...)
}

// resolve follows anchors and aliases. A nil result has been reported.
func (r *reader) resolve(n ast.Node) ast.Node {
	for range maxDepth {
		switch x := n.(type) {
		case *ast.AnchorNode:
			r.anchors[x.Name.GetToken().Value] = x.Value
			n = x.Value
		case *ast.AliasNode:
			target, ok := r.anchors[x.Value.GetToken().Value]
			if !ok {
				r.complain(x.GetToken(), "unknown anchor %q", x.Value.GetToken().Value)
				return nil
			}
			n = target
		case *ast.TagNode:
			r.complain(x.GetToken(), "tags such as %s have no meaning here", x.GetToken().Value)
			return nil
		default:
			return n
		}
	}
	r.complain(n.GetToken(), "the alias refers to itself")
	return nil
}

// section reads the mapping of a section.
func (r *reader) section(path string, n ast.Node) {
	n = r.resolve(n)
	if isNothing(n) {
		return
	}
	if r.depth++; r.depth > maxDepth {
		r.complain(n.GetToken(), "nested too deeply")
		return
	}
	defer func() { r.depth-- }()
	what := "the file"
	if path != "" {
		what = path
	}
	var fields []*ast.MappingValueNode
	switch x := n.(type) {
	case *ast.MappingNode:
		fields = x.Values
	case *ast.MappingValueNode:
		fields = []*ast.MappingValueNode{x}
	default:
		names := children(path)
		r.c.failed[path] = true
		r.complain(start(n), "%s: expected a mapping with fields such as %s, got %s", what,
			strings.Join(names[:min(3, len(names))], ", "), describe(n))
		return
	}
	names := children(path)
	for _, f := range fields {
		key := f.Key.GetToken()
		if _, merge := f.Key.(*ast.MergeKeyNode); merge {
			r.complain(key, "merge keys are not supported: write the fields out")
			continue
		}
		p := key.Value
		if path != "" {
			p = path + "." + key.Value
		}
		if s, ok := setting(p); ok && !strings.Contains(key.Value, ".") {
			r.leaf(s, key, f.Value)
		} else if hasSection(p) && !strings.Contains(key.Value, ".") {
			r.section(p, f.Value)
		} else {
			r.complain(key, "unknown field %q%s", key.Value, suggestField(path, key.Value, names))
		}
	}
}

// suggestField looks among the neighbours first, then for the section where a field of this name
// belongs.
func suggestField(path, name string, names []string) string {
	if s := didYouMean(name, names); s != "" {
		return s
	}
	for _, s := range description().settings {
		if s.Path == name || strings.HasSuffix(s.Path, "."+name) {
			return fmt.Sprintf(" (did you mean %s?)", s.Path)
		}
	}
	for _, s := range description().sections {
		if s.Path == name || strings.HasSuffix(s.Path, "."+name) {
			return fmt.Sprintf(" (did you mean the section %s?)", s.Path)
		}
	}
	if path == "" {
		return ": expected " + orList(names)
	}
	return fmt.Sprintf(": %s has %s", path, strings.Join(names, ", "))
}

// leaf reads the value of one setting.
func (r *reader) leaf(s Setting, key *token.Token, n ast.Node) {
	n = r.resolve(n)
	if isNothing(n) {
		return // a name without a value is a setting left to its default
	}
	at := start(n)
	r.c.failed[s.Path] = true // until it is read
	if s.EnvOnly {
		r.complain(key, "%s does not stand in the file: set %s, or name a file with %s_file", s.Path,
			s.Env, key.Value)
		return
	}
	var text string
	var ok bool
	if s.typ.Kind() == reflect.Slice {
		text, ok = r.list(s, n)
	} else {
		text, ok = r.scalar(s, n)
	}
	if ok {
		delete(r.c.failed, s.Path)
		r.c.assignText(s, text, Origin{FromFile, r.where(at)}, r.ps)
	}
}

// start is the token where n begins. The token of a block mapping is the colon of its first field.
func start(n ast.Node) *token.Token {
	switch x := n.(type) {
	case *ast.MappingNode:
		if x.GetToken().Type == token.MappingValueType && len(x.Values) > 0 {
			return start(x.Values[0])
		}
	case *ast.MappingValueNode:
		return x.Key.GetToken()
	}
	return n.GetToken()
}
