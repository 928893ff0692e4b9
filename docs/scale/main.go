// Command scale is a model of a large deployment: relays, their lanes, brokers and zones, as
// docs/design.md has them. It runs events in the order of their times, so that queues, collisions
// and take-overs come out by themselves, and prints the tables of docs/scale.md, which says what it
// leaves out. What goes in is in config.go.
//
//	go run ./docs/scale -h
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	var cfg config
	cfg.register(flag.CommandLine)
	only := flag.String("only", "inputs,designs,linger,rates,losses", "the tables to print")
	flag.Parse()
	err := cfg.check()
	for name := range strings.SplitSeq(*only, ",") {
		if err == nil {
			err = table(os.Stdout, name, cfg)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(2)
	}
}

func table(w io.Writer, name string, cfg config) error {
	fmt.Fprintf(w, "\n%s\n\n", name)
	switch name {
	case "inputs":
		printInputs(w, cfg)
	case "designs":
		fmt.Fprintln(w, steadyHead)
		for _, cfg.Join = range []string{"client", "leaders"} {
			for _, cfg.Lanes = range []int{1, 2, 4} {
				printSteady(w, fmt.Sprintf("%d a relay, %s", cfg.Lanes, cfg.Join), cfg)
			}
			cfg.Lanes = 0
			printSteady(w, "one a shard, "+cfg.Join, cfg)
		}
		fmt.Fprintf(w, "\nMemory of a relay at rest, with a lane: %.0f MB. Of further producers it is "+
			"not known.\n",
			cfg.RelayMem+cfg.ShardMem*float64(cfg.Shards)/float64(cfg.Relays))
	case "linger":
		fmt.Fprintln(w, steadyHead)
		for _, cfg.Linger = range []time.Duration{0, 10e6, 20e6, 50e6, 100e6, 200e6} {
			printSteady(w, cfg.Linger.String(), cfg)
		}
	case "rates":
		fmt.Fprintln(w, steadyHead)
		for _, cfg.Rate = range []float64{1, 5, 20, 100} {
			printSteady(w, fmt.Sprintf("%.0f events/s a shard", cfg.Rate), cfg)
		}
	case "losses":
		fmt.Fprintln(w, lossHead)
		for _, x := range losses {
			printLoss(w, cfg, x)
		}
	default:
		return fmt.Errorf("-only=%s: there is no such table; go run ./docs/scale -h lists them", name)
	}
	return nil
}
