// Package conf reads, checks and completes tidegate's configuration files.
//
// There are two: the controller's (tidegate run) and the node agent's (tidegate agent). Both are YAML, read strictly: an
// unknown key is an error. Load does everything that `tidegate check` and a reload do, by one and the same path: read, decode,
// fill in defaults, validate, read the token files. It returns either a complete configuration or every problem found, each
// as "FILE:LINE:COLUMN: KEY: VALUE is not allowed: ALLOWED".
//
// Durations are written as in Go ("500ms", "5m"), shares as numbers from 0 to 1, addresses as "unix:/path" or "host:port".
//
// The files that are shipped for others to load stand beside this package: haproxy/, nginx/, marks/.
package conf
