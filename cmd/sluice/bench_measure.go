package main

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// benchReport is the report of a measurement, which lays itself out.
type benchReport interface{ WriteText(w io.Writer) error }

// measure runs a measurement and prints its report. drive and progress are fields of its options,
// which are complete when check looks at them.
func (a *app) measure(drive *[]string, progress *func(string, ...any), check func() error,
	run func() (benchReport, error),
) error {
	var err error
	if *drive, err = driveCommand(); err != nil {
		return err
	}
	*progress = func(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }
	if err := check(); err != nil {
		return usagef("%w", err)
	}
	report, err := run()
	if err != nil {
		return err
	}
	if a.output == "text" {
		return report.WriteText(a.out)
	}
	return a.print(report, func(*page) {})
}

// serverFlags are those of the servers that a measurement uses instead of its own.
func serverFlags(flags *pflag.FlagSet, redis *string, kafka *[]string) {
	flags.StringVar(redis, "redis", "", "measure on this Redis, `ADDRESS` or URL")
	flags.StringSliceVar(kafka, "kafka", nil, "measure on this Kafka, `BROKERS`")
}
