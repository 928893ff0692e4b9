package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// load gives what loading a file of this content says.
func loadText(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Source{File: name}); err != nil {
		return err.Error()
	}
	return ""
}

const soundFile = "outbox:\n  name: orders\n  shards: 4\nredis:\n  url: redis://localhost\n" +
	"kafka:\n  brokers: [\"localhost:9092\"]\n"

func TestFilesAreBounded(t *testing.T) {
	t.Parallel()
	if said := loadText(t, soundFile); said != "" {
		t.Fatal(said)
	}
	if said := loadText(t, "\ufeff"+soundFile); said != "" {
		t.Errorf("with a byte order mark: %s", said)
	}
	if said := loadText(t, soundFile+"#"+strings.Repeat("x", largestFile)); !strings.Contains(said,
		"larger than") {
		t.Errorf("a file of a megabyte: %.200s", said)
	}
	deep := soundFile + "x: " + strings.Repeat("[", 100_000)
	if said := loadText(t, deep); !strings.Contains(said, ":8: brackets are nested") ||
		strings.Contains(said, "required") {
		t.Errorf("100,000 brackets: %.200s", said)
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		_, err := Load(Source{File: "/dev/zero"})
		if err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("/dev/zero: %v", err)
		}
	}
}

// A file that cannot be read is the only complaint: what it would have set is not missing.
func TestUnreadableFileIsTheOnlyComplaint(t *testing.T) {
	t.Parallel()
	_, err := Load(Source{File: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "cannot read") ||
		strings.Contains(err.Error(), "required") {
		t.Errorf("got %v", err)
	}
}
