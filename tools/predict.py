#!/usr/bin/env python3
"""Find lesions in chest CT scans, and the class of each slice and scan: see --help."""

from ct_lesion.prediction.command import main

if __name__ == "__main__":
    main()
