package process

import (
	"bytes"
	"context"
	"errors"
	"sync"
)

var errEnded = errors.New("it ended first")

// tail is a writer that keeps the last limit bytes and lets others wait for a text to appear.
type tail struct {
	mu      sync.Mutex
	buf     []byte
	limit   int
	ended   bool
	changed chan struct{} // closed and replaced at every change
}

func newTail(limit int) *tail { return &tail{limit: limit, changed: make(chan struct{})} }

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	// Cut at twice the limit, so that a chatty process does not move the buffer at every line.
	if len(t.buf) > 2*t.limit {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.limit:]...)
	}
	close(t.changed)
	t.changed = make(chan struct{})
	return len(p), nil
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-t.limit):])
}

// lastLines returns the last n lines, without the line break at the end.
func (t *tail) lastLines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimRight(t.buf, "\n")
	at := len(text)
	for range n {
		at = bytes.LastIndexByte(text[:at], '\n')
		if at < 0 {
			return string(text)
		}
	}
	return string(text[at+1:])
}

func (t *tail) waitFor(ctx context.Context, text string) error {
	for {
		t.mu.Lock()
		found, ended, changed := bytes.Contains(t.buf, []byte(text)), t.ended, t.changed
		t.mu.Unlock()
		switch {
		case found:
			return nil
		case ended:
			return errEnded
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
