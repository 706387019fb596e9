"""What others may send us, made up from a seed: damaged files and odd answers. Run: make hostile"""
