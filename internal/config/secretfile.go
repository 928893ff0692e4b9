package config

import (
	"fmt"
	"strings"
	"sync"
)

// secretFile is a password or token in a file. It is read at every connection, which is how a
// rotated secret takes effect without a restart.
type secretFile struct {
	path string

	mu   sync.Mutex
	last string
}

// read gives the content without the newline at its end. While the file cannot be read or is empty,
// as it may be for a moment during a rotation, the last good content is given.
func (f *secretFile) read() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := readFile(f.path)
	secret := strings.TrimRight(string(b), "\r\n")
	switch {
	case err == nil && secret != "":
		f.last = secret
	case f.last != "":
	case err != nil:
		return "", err
	default:
		return "", fmt.Errorf("%s is empty", f.path)
	}
	return f.last, nil
}

// secret gives the password at path: from the environment, from the file of path_file, or none.
// The file is read once here so that a wrong name is found at start.
func (c *Config) secret(path, value, file string) (func() (string, error), error) {
	if file == "" {
		return func() (string, error) { return value, nil }, nil
	}
	f := &secretFile{path: file}
	if _, err := f.read(); err != nil {
		return nil, c.Problemf(path+"_file", "%v", err)
	}
	return f.read, nil
}
