package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// process is the other end of Carry.
type process struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan answer // closed when its output has ended
	log     *logTail
}

// startProcess starts a carrier and returns when it is connected. The caller ends it.
func (o Options) startProcess(ctx context.Context, j job) (*process, error) {
	p := &process{name: j.Carrier.String(), answers: make(chan answer, 4), log: &logTail{}}
	p.cmd = exec.Command(o.Carry[0], o.Carry[1:]...)
	p.cmd.Env = append(os.Environ(), o.CarryEnv...)
	p.cmd.Stderr = p.log
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	go func() {
		defer close(p.answers)
		for dec := json.NewDecoder(out); ; {
			var a answer
			if dec.Decode(&a) != nil {
				return
			}
			p.answers <- a
		}
	}()
	line, err := json.Marshal(j)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	if err == nil {
		_, err = p.await(ctx, eventReady)
	}
	if err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

func (p *process) say(word string) error {
	if _, err := io.WriteString(p.in, word+"\n"); err != nil {
		return p.failed(err)
	}
	return nil
}

// stop asks for the cost since the start. The process ends by itself afterwards.
func (p *process) stop(ctx context.Context) (answer, error) {
	if err := p.say(wordStop); err != nil {
		return answer{}, err
	}
	return p.await(ctx, eventCost)
}

// watched is a context that also ends, with the reason as its cause, when the process fails. stop gives up watching, which it
// has to before anything else is asked of the process.
func (p *process) watched(ctx context.Context) (_ context.Context, stop func()) {
	ctx, give := context.WithCancelCause(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if _, err := p.await(ctx, eventFailed); ctx.Err() == nil {
			give(err)
		}
	}()
	return ctx, func() {
		give(nil)
		<-over
	}
}

// await returns the next answer with the event.
func (p *process) await(ctx context.Context, event string) (answer, error) {
	for {
		select {
		case a, ok := <-p.answers:
			switch {
			case !ok:
				return a, p.failed(errors.New("it ended by itself"))
			case a.Event == eventFailed:
				return a, p.failed(errors.New(a.Error))
			case a.Event == event:
				return a, nil
			}
		case <-ctx.Done():
			return answer{}, p.failed(fmt.Errorf("waiting for %q: %w", event, ctx.Err()))
		}
	}
}

func (p *process) failed(err error) error {
	if log := p.log.String(); log != "" {
		return fmt.Errorf("%s: %w; its last lines:\n%s", p.name, err, log)
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// end lets the process finish what it does, for a while, and returns when it is gone. How it ends no longer matters.
func (p *process) end() {
	_ = p.in.Close()
	patience := time.AfterFunc(15*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer patience.Stop()
	for range p.answers {
		continue // what it still says is of no interest, but must be read
	}
	_ = p.cmd.Wait()
}

// logTail keeps the last lines that a process wrote to its standard error.
type logTail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *logTail) Write(b []byte) (int, error) {
	const keep = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if n := len(t.buf); n > 2*keep {
		t.buf = bytes.Clone(t.buf[n-keep:])
	}
	return len(b), nil
}

func (t *logTail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
