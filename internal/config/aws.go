package config

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl/aws"
)

// awsCredentials takes the keys of AWS MSK IAM from the two places that every AWS tool knows: the
// environment, or else the shared credentials file, which is read each time so that a rotated
// session token takes effect. Roles of instances and containers are not looked up.
func awsCredentials() (aws.Auth, error) {
	auth := aws.Auth{
		AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: os.Getenv("AWS_SESSION_TOKEN"), UserAgent: "sluice",
	}
	if auth.AccessKey != "" && auth.SecretKey != "" {
		return auth, nil
	}
	path := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return aws.Auth{}, errNoAWS
		}
		path = filepath.Join(home, ".aws", "credentials")
	}
	profile := os.Getenv("AWS_PROFILE")
	if profile == "" {
		profile = "default"
	}
	keys, err := readProfile(path, profile)
	if err != nil {
		return aws.Auth{}, fmt.Errorf("%w (%w)", errNoAWS, err)
	}
	auth.AccessKey, auth.SecretKey, auth.SessionToken = keys["aws_access_key_id"],
		keys["aws_secret_access_key"], keys["aws_session_token"]
	if auth.AccessKey == "" || auth.SecretKey == "" {
		return aws.Auth{}, fmt.Errorf("%w (%s has no keys for the profile %s)", errNoAWS, path, profile)
	}
	return auth, nil
}

var errNoAWS = errors.New(
	"aws-msk-iam needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the shared credentials file")

// readProfile reads one section of an AWS credentials file.
func readProfile(path, profile string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	keys, inside := map[string]string{}, false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			inside = strings.TrimSpace(strings.Trim(line, "[]")) == profile
		case inside:
			if k, v, ok := strings.Cut(line, "="); ok {
				keys[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
			}
		}
	}
	return keys, lines.Err()
}
