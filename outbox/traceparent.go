package outbox

import (
	"context"
	"strings"
)

// The headers of W3C Trace Context, https://www.w3.org/TR/trace-context/.
const (
	traceParentHeader = "traceparent"
	traceStateHeader  = "tracestate"
)

// trace is a valid trace context, or the zero value for none.
type trace struct{ parent, state string }

type traceKey struct{}

// WithTraceParent returns a context whose events carry this W3C trace context: the writer stores
// traceparent, and tracestate if it is not empty, as headers of every event that has no traceparent
// of its own. A traceparent that is not valid is left out, as the W3C recommendation says: an event
// is never refused for its trace. It takes precedence over Config.TraceContext.
func WithTraceParent(ctx context.Context, traceparent, tracestate string) context.Context {
	return context.WithValue(ctx, traceKey{}, validTrace(traceparent, tracestate))
}

// traceOf is the trace context of ctx: from WithTraceParent, else from the hook.
func traceOf(ctx context.Context, hook func(context.Context) (string, string)) trace {
	if t, ok := ctx.Value(traceKey{}).(trace); ok {
		return t
	}
	if hook == nil {
		return trace{}
	}
	return validTrace(hook(ctx))
}

func validTrace(parent, state string) trace {
	if !validTraceParent(parent) {
		return trace{}
	}
	if !validTraceState(state) {
		state = ""
	}
	return trace{parent: parent, state: state}
}

// validTraceParent follows section 3.2 of the recommendation: version "00" is exactly
// version-traceid-parentid-flags; a later version may have more after another hyphen; "ff" is not a
// version; the ids are not all zero; hexadecimal digits are lower case.
func validTraceParent(s string) bool {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, id, parent, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !lowerHex(version) || !lowerHex(id) || !lowerHex(parent) || !lowerHex(flags) {
		return false
	}
	if version == "ff" || strings.Trim(id, "0") == "" || strings.Trim(parent, "0") == "" {
		return false
	}
	if len(s) == length {
		return true
	}
	return version != "00" && len(s) <= 512 && s[length] == '-' && printable(s)
}

// validTraceState asks only for what keeps a header sound: printable ASCII, at most the 512
// characters that the recommendation asks everyone to pass on. Its list members are the tracing
// system's own business.
func validTraceState(s string) bool { return len(s) <= 512 && printable(s) }

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
