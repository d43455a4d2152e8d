# shellcheck shell=bash
# Starting Java sooner: the classes that a first run loaded are written at its clean end, and later runs map them.
# On a busy machine this is 10 s instead of 25 until Kafka answers.

# class_archive FILE: the option to write it or to use it. Java ignores an archive that fits no more.
class_archive() {
  if [[ -s $1 ]]; then
    echo "-XX:SharedArchiveFile=$1"
  else
    echo "-XX:ArchiveClassesAtExit=$1"
  fi
}
