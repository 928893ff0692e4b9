package consistency

import (
	"fmt"
	"runtime/debug"
)

// panicError is a panic of an audit. It ends the run, and not the process: a relay may run beside
// it.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string {
	return fmt.Sprintf("the audit has failed by a mistake of its own: %v", p.value)
}

// caught turns a panic of the calling function into its error. It is to be deferred.
func caught(err *error) {
	if value := recover(); value != nil {
		*err = &panicError{value, debug.Stack()}
	}
}
