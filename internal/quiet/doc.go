// Package quiet logs a condition that repeats once when it begins, then at most once per interval with the number of
// repeats, and once when it is over. It keeps a broken neighbour (a missing socket, a dead agent) from filling the disk.
package quiet
