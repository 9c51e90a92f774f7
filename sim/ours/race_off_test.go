//go:build !race

package ours

const raced = false
