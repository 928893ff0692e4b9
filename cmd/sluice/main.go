// Command sluice runs and operates transactional outboxes: it relays the events that applications
// append in Redis to Kafka, exactly once and in order, and shows and removes what keeps them from
// it.
//
// One file holds one command. What they share is in app.go (global flags, configuration, clients),
// print.go and table.go (output), consent.go (asking before something is destroyed or sent again)
// and exit.go (statuses).
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
	"golang.org/x/term"
)

func main() {
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(),
		inTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		outTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	logging.Disable() // go-redis logs what is also in the errors it returns, which commands print once
	ctx, stop := untilSignal(a.err, os.Exit)
	code := run(ctx, a, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, a *app, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return a.status(root.ExecuteContext(ctx))
}

// untilSignal gives a context that ends at the first SIGINT or SIGTERM, which lets a relay finish
// its open transactions. The second one ends the process at once: what is open then is aborted by
// the next owner.
func untilSignal(w io.Writer, exit func(int)) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		first, ok := <-signals
		if !ok {
			return
		}
		cancel()
		if _, ok := <-signals; ok {
			fmt.Fprintln(w, "sluice: second signal, ending at once")
			n, _ := first.(syscall.Signal)
			exit(128 + int(n))
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel()
	}
}
