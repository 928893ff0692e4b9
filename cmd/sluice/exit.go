package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/terminal"
)

// The exit statuses of every command.
const (
	exitFine      = 0
	exitFailed    = 1
	exitUsage     = 2 // the command line or the configuration is wrong, or consent is missing
	exitThreshold = 3 // drift was found or a threshold crossed; the command itself did its work
)

// usageError ends the command with exitUsage.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// thresholdError ends the command with exitThreshold.
type thresholdError struct{ err error }

func (e *thresholdError) Error() string { return e.err.Error() }
func (e *thresholdError) Unwrap() error { return e.err }

func thresholdf(format string, args ...any) error {
	return &thresholdError{fmt.Errorf(format, args...)}
}

// errQuiet ends the command with exitFailed without a message: the output has said it.
var errQuiet = errors.New("failed")

// status prints the error and gives the exit status.
func (a *app) status(err error) int {
	var usage *usageError
	var wrong *config.Error
	var threshold *thresholdError
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errQuiet):
		return exitFailed
	case errors.As(err, &wrong):
		fmt.Fprintln(a.err, terminal.Text(err.Error())) // each line begins with its place
		return exitUsage
	case errors.As(err, &threshold):
		fmt.Fprintln(a.err, "sluice:", terminal.Text(err.Error()))
		return exitThreshold
	case errors.As(err, &usage) || !a.started:
		// Whatever fails before a command begins is a mistake in the command line.
		fmt.Fprintln(a.err, "sluice:", terminal.Text(err.Error()))
		if !errors.As(err, &usage) {
			fmt.Fprintln(a.err, "run 'sluice --help', or 'sluice COMMAND --help'")
		}
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(a.err, "sluice: interrupted")
		return exitFailed
	default:
		fmt.Fprintln(a.err, "sluice:", terminal.Text(err.Error()))
		return exitFailed
	}
}
