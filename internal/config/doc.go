// Package config is the configuration of the sluice command: one YAML file, the environment,
// --set and flags, in this order of precedence, over the defaults.
//
// The structs of config.go are the only description of the settings. Their tags carry the name, the
// default, the range and the sentence of documentation; everything else is derived by reflection:
// the strict reading of the file, the names of the environment variables, `config show`, `config
// schema` and the page of settings in docs/. To add a setting, add a field.
//
// Load reports every mistake at once, each with the place it was made in: file, line and column,
// the variable, or the flag. The value of a secret is never in an error, in a log line or in the
// output of a command.
//
// Secrets and certificates are named by file. The files are read again when they change, at the
// next connection, so that rotating them needs no restart.
package config
