package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

const (
	// largestFile bounds configurations, secrets and certificates. It keeps a device or a wrong name
	// from filling the memory.
	largestFile = 1 << 20
	// deepestFlow is how deep brackets may nest. Parsing takes the square of it.
	deepestFlow = 64
)

// readFile reads a file that cannot be large.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > largestFile {
		return nil, fmt.Errorf("%s is larger than %d bytes, which no such file is", name, largestFile)
	}
	return b, nil
}

// withoutMark is text without the byte order mark that some editors write before it.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// tooDeep gives the line at which brackets nest deeper than any configuration has them; 0: nowhere.
// Brackets in quotes and comments count as well, which is harmless: they close there too.
func tooDeep(text []byte) (line int) {
	depth, line := 0, 1
	for _, c := range text {
		switch c {
		case '\n':
			line++
		case '[', '{':
			if depth++; depth > deepestFlow {
				return line
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return 0
}
