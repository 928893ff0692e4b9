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

// process is the other end of Drive.
type process struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan answer // closed when its output has ended
	log     *logTail

	asking sync.Mutex // one question at a time

	over chan struct{} // closed when it has failed or ended; err says which
	err  error
}

// startProcess starts a driver and returns when it is connected. The caller ends it.
func (o Options) startProcess(ctx context.Context, j job) (*process, error) {
	p := &process{
		name: j.Driver.String(), answers: make(chan answer, 4), log: &logTail{},
		over: make(chan struct{}),
	}
	p.cmd = exec.Command(o.Drive[0], o.Drive[1:]...)
	p.cmd.Env = append(os.Environ(), o.DriveEnv...)
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
	go p.listen(out)
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

// listen hands over what the process answers until its output ends. The first failure, or the end,
// is the last of it.
func (p *process) listen(out io.Reader) {
	defer close(p.answers)
	defer close(p.over)
	p.err = errors.New("it ended by itself")
	for dec := json.NewDecoder(out); ; {
		var a answer
		if dec.Decode(&a) != nil {
			return
		}
		if a.Event == eventFailed {
			p.err = errors.New(a.Error)
			return
		}
		p.answers <- a
	}
}

func (p *process) say(word string) error {
	if _, err := io.WriteString(p.in, word+"\n"); err != nil {
		return p.failed(err)
	}
	return nil
}

// ask says a word and returns the answer to it.
func (p *process) ask(ctx context.Context, word, event string) (answer, error) {
	p.asking.Lock()
	defer p.asking.Unlock()
	if err := p.say(word); err != nil {
		return answer{}, err
	}
	return p.await(ctx, event)
}

// stop asks for the cost since the start. The process ends by itself afterwards.
func (p *process) stop(ctx context.Context) (answer, error) {
	return p.ask(ctx, wordStop, eventCost)
}

// watched is a context that also ends, with the reason as its cause, when the process fails or
// ends. stop gives up watching, which it has to before the process may end.
func (p *process) watched(ctx context.Context) (_ context.Context, stop func()) {
	ctx, give := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.over:
			give(p.failed(p.err))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { give(nil) }
}

// await returns the next answer with the event.
func (p *process) await(ctx context.Context, event string) (answer, error) {
	for {
		select {
		case a, ok := <-p.answers:
			switch {
			case !ok:
				return a, p.failed(p.err)
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

// end lets the process finish what it does, for a while, and returns when it is gone. How it ends
// no longer matters.
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
