package config

import (
	"regexp"
	"slices"
	"strings"
)

// testPrefix begins the variables of the project's own test suites.
const testPrefix = EnvPrefix + "TEST_"

// kubernetesService matches what Kubernetes puts into the environment of every pod for a service
// called sluice or sluice-relay: SLUICE_RELAY_PORT_8080_TCP_ADDR, for example. Nobody typed these.
var kubernetesService = regexp.MustCompile(
	`_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$`)

// readEnvironment takes the settings from the environment. A variable that looks like a misspelt
// setting is a mistake: an override that silently does nothing is worse than none.
func (c *Config) readEnvironment(environ []string, ps *problems) {
	byEnv := map[string]Setting{}
	names := []string{FileVariable}
	for _, s := range description().settings {
		byEnv[s.Env] = s
		names = append(names, s.Env)
	}
	environ = slices.Sorted(slices.Values(environ))
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || name == FileVariable ||
			strings.HasPrefix(name, testPrefix) {
			continue
		}
		if s, ok := byEnv[name]; ok {
			c.assignText(s, value, Origin{FromEnvironment, name}, ps)
			continue
		}
		if kubernetesService.MatchString(name) {
			continue
		}
		if near, ok := nearestVariable(name, names); ok {
			ps.add(name, "unknown environment variable (did you mean %s?)", near)
			continue
		}
		c.ignored = append(c.ignored, name)
	}
}

// nearestVariable is stricter than nearest, since any tool may own a variable with our prefix: two
// letters may differ.
func nearestVariable(name string, names []string) (string, bool) {
	near, ok := nearest(strings.TrimPrefix(name, EnvPrefix), trimAll(names))
	if !ok || distance(strings.TrimPrefix(name, EnvPrefix), near) > 2 {
		return "", false
	}
	return EnvPrefix + near, true
}

func trimAll(names []string) []string {
	short := make([]string, len(names))
	for i, n := range names {
		short[i] = strings.TrimPrefix(n, EnvPrefix)
	}
	return short
}
