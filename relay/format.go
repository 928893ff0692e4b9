package relay

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/options"
)

// Format says what a record looks like; docs/wire-format.md shows each.
type Format int

const (
	// FormatRaw puts the payload untouched into the value and the rest into headers.
	FormatRaw Format = iota
	// FormatCloudEventsBinary is the CloudEvents 1.0 Kafka binding's binary content mode.
	FormatCloudEventsBinary
	// FormatCloudEventsStructured is the same binding's structured content mode (JSON).
	FormatCloudEventsStructured
)

// formats has all formats: their names in settings, and how each encodes. A new one is a line here
// and a file beside format_raw.go, and its own reading in consistency.
var formats = []struct {
	name     string
	encoding func(source string) encoding
}{
	FormatRaw:                   {"raw", newRawFormat},
	FormatCloudEventsBinary:     {"cloudevents-binary", newBinaryFormat},
	FormatCloudEventsStructured: {"cloudevents-structured", newStructuredFormat},
}

// encoding is what records of one format have of their own. It belongs to one goroutine.
type encoding interface {
	// encode appends the headers of the format to headers and returns the value: nil only for a
	// tombstone. The event's own headers come after them, and are not its affair. An error ends the
	// reading, which is tried again.
	encode(ctx context.Context, e *entry, headers []kgo.RecordHeader) (value []byte,
		_ []kgo.RecordHeader, err error)
}

var formatNames = func() (names []string) {
	for _, f := range formats {
		names = append(names, f.name)
	}
	return names
}()

func (f Format) String() string { return options.Name(formatNames, int(f)) }

// ParseFormat is the inverse of Format.String.
func ParseFormat(s string) (Format, error) {
	return options.Parse[Format]("format", formatNames, s)
}
