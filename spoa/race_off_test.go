//go:build !race

package spoa

const raceEnabled = false
