// Package watch tells when something in a few folders may have changed. It watches folders and not files, because editors
// and configuration management replace files by renaming, which a watch on the file does not survive. What the kernel tells
// is only a hint: whoever is told reads the content again. So losses are cured by looking anyway every Look, a folder that
// vanishes is watched again when it is back, and where the kernel gives no watch at all, the folder is looked at more often.
package watch
