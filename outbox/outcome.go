package outbox

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/slot"
)

// PartialError is a transaction that was committed although some of its commands failed: Redis does
// not roll back. The other commands have taken effect.
//
// If Missing > 0 the state was committed and that many events were not. It is the one case in which
// Sluice's promise of atomicity is broken: within Config.TypeCheckInterval before EXEC the key of
// the stream was replaced by another type, or the stream reached the highest possible entry ID.
// Repair the key, then append the events again, by themselves. If Missing is 0 the events were
// appended and a state command failed: correct the command, and undo or complete the state.
type PartialError struct {
	Missing  int            // events that were not appended
	Appended []string       // entry IDs of the events that were
	Failed   []CommandError // the commands that failed, in the order of the transaction
}

// CommandError is a command of a committed transaction that failed by itself.
type CommandError struct {
	Command string // its name and key, for example "incr stock:7"
	Err     error
}

func (e CommandError) Error() string { return e.Command + ": " + e.Err.Error() }

// Unwrap gives the reply of the server.
func (e CommandError) Unwrap() error { return e.Err }

func (e *PartialError) Error() string {
	var b strings.Builder
	if e.Missing > 0 {
		fmt.Fprintf(&b, "the state was committed, %d event(s) were not appended", e.Missing)
	} else {
		b.WriteString("the events were appended, part of the state was not written")
	}
	for _, f := range e.Failed {
		b.WriteString("; " + f.Error())
	}
	return b.String()
}

// Unwrap gives a CommandError for each failed command, and ErrWrongType if that is why events are
// missing.
func (e *PartialError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failed)+1)
	for _, f := range e.Failed {
		errs = append(errs, f)
		if e.Missing > 0 && errors.Is(kindOf(f.Err), ErrWrongType) {
			errs = append(errs, ErrWrongType)
		}
	}
	return errs
}

// settle decides what became of a transaction. It goes by what go-redis says after EXEC: execErr,
// and the error of every command. appends are the XADDs among cmds. It returns nil if every command
// succeeded; a redis.Nil is a success.
//
// Redis answers MULTI/EXEC in one of four ways, which go-redis shows like this:
//
//	array of replies        each command has its own error or none; execErr is the first of them
//	null                    redis.TxFailedErr everywhere
//	error at MULTI or EXEC  every command has an error, that one or the one with which it was refused
//	no reply                a network error in execErr; commands without a reply have it too
//
// A connection that fails while it is set up leaves the commands without any error. If a write
// failed and go-redis repeated the transaction with success, execErr can still be that of the
// write, which stays on the MULTI. So commands without an error are a success if execErr is no
// reply.
func settle(execErr error, cmds []redis.Cmder, appends []*redis.StringCmd) error {
	failure := firstFailure(cmds)
	if execErr == nil || errors.Is(execErr, redis.Nil) {
		execErr = failure
	}
	if failure == nil && !isReply(execErr) {
		return nil
	}
	switch {
	case errors.Is(execErr, redis.TxFailedErr):
		return redis.TxFailedErr
	case !isReply(execErr):
		if unsent(execErr) {
			return &ServerError{Kind: ErrUnreachable, Reply: execErr}
		}
		return lostReply(execErr)
	}
	if refused, cause := refusedWhole(execErr, cmds); refused {
		return &ServerError{Kind: kindOf(cause), Reply: cause}
	}
	return partial(cmds, appends)
}

func firstFailure(cmds []redis.Cmder) error {
	for _, c := range cmds {
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}

func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// refusedWhole reports whether EXEC did not run, and why: the reply of the command that made Redis
// drop the transaction says more than EXECABORT.
func refusedWhole(execErr error, cmds []redis.Cmder) (bool, error) {
	aborted := redis.IsExecAbortError(execErr)
	cause := execErr
	failed := 0
	for _, c := range cmds {
		err := c.Err()
		if err == nil {
			continue
		}
		failed++
		switch {
		case redis.IsExecAbortError(err):
			aborted = true
		case redis.IsExecAbortError(cause) && isReply(err):
			cause = err
		}
	}
	switch {
	case aborted, failed == 0:
		return true, cause
	case failed < len(cmds):
		return false, nil
	}
	// Every command failed. Either each failed by itself, or MULTI or EXEC was refused and go-redis
	// gave all of them that reply. A wrong type and whatever is unknown come from a command; the other
	// kinds are the server's state.
	kind := kindOf(cause)
	return kind != nil && !errors.Is(kind, ErrWrongType), cause
}

func partial(cmds []redis.Cmder, appends []*redis.StringCmd) *PartialError {
	e := &PartialError{}
	for _, a := range appends {
		if a.Err() != nil {
			e.Missing++
		} else {
			e.Appended = append(e.Appended, a.Val())
		}
	}
	for _, c := range cmds {
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			e.Failed = append(e.Failed, CommandError{Command: commandName(c), Err: err})
		}
	}
	return e
}

// commandName is the command and its key, without values: those may be secret.
func commandName(c redis.Cmder) string {
	args := c.Args()
	if len(args) < 2 {
		return c.Name()
	}
	return c.Name() + " " + slot.Text(args[1])
}
