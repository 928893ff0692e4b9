package consistency

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestCompareIsPure: what decides imports nothing by which it could ask or wait, looks at no clock,
// and starts no goroutine.
func TestCompareIsPure(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("compare*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v %v", files, err)
	}
	harmless := map[string]bool{
		"cmp": true, "fmt": true, "maps": true, "slices": true, "sort": true, "strings": true,
		"encoding/binary": true, "encoding/hex": true,
		"math/bits": true, "time": true, // time.Duration is a number
	}
	for _, name := range append(files, "tile.go", "digest.go", "marks.go", "state.go") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !harmless[path] {
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SendStmt, *ast.SelectStmt:
				t.Errorf("%s has a goroutine or a channel", name)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name != "Duration" {
					t.Errorf("%s uses time.%s", name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestCompareChangesNothing: two comparisons of the same have the same outcome, which they would
// not if the first one had changed what it was given, or depended on anything else.
func TestCompareChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newSmallWorld(t)
		a := w.begin(t)
		w.stage(t, true)
		c, now := a.collecting(t)
		for rounds := 0; now.open(); rounds++ {
			if rounds > 1000 {
				t.Fatal("no end of rounds")
			}
			sides, err := c.collect(t.Context(), now)
			if err != nil {
				t.Fatal(err)
			}
			before := now.clone()
			first, err := compare(c.settings, now, sides)
			if err != nil {
				t.Fatal(err)
			}
			second, err := compare(c.settings, now, sides)
			if err != nil || !reflect.DeepEqual(first, second) {
				t.Fatalf("first %+v\nthen %+v, %v", first, second, err)
			}
			if !reflect.DeepEqual(now, before) {
				t.Fatalf("was %+v\nis %+v", before, now)
			}
			now = first.next
		}
	})
}

// collecting is a collector that is about to begin its first round.
func (a *auditor) collecting(t *rapid.T) (*collector, runState) {
	before, err := a.remembered()
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{
		settings: a.settings, streams: a.streams, logs: a.logs,
		wait: func(context.Context, time.Duration) error {
			return nil
		}, now: time.Now,
	}
	now := runState{}
	if now.shards, _, err = c.begin(t.Context(), before.Shards); err != nil {
		t.Fatal(err)
	}
	c.topics = newCatalog(c.logs, c.deadLetter, len(now.shards), before.Topics, false)
	if now, err = c.open(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	return c, now
}
