//go:build race

package spoa

const raceEnabled = true
