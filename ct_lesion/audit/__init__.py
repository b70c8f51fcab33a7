"""What a careful group checks before it believes a number: are the files sound, do splits leak?

``image_facts.py`` reads what is to be known about each image file in one pass, ``copy_search.py``
finds copies of images across splits, ``copy_trials.py`` measures how well that works on the images
at hand.
"""
